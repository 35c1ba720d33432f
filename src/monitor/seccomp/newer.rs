//! System calls newer than a profile: a short program in front of the compiled one. Which numbers are known is asked of the
//! library elsewhere.
//!
//! ```text
//!         load architecture
//!   for each: if it is not this one, next
//!             load number; if number > newest named and number < 0x40000000: return ENOSYS; else go to the profile
//! ```

/// From here on are the numbers of x86's x32 variant, which have the architecture of x86_64.
const X32: u32 = 0x4000_0000;
/// SECCOMP_RET_ERRNO with ENOSYS.
const RETURN_ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const IF_GREATER_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Instructions per architecture.
const BLOCK: usize = 5;

/// Returns the program for pairs of an architecture (AUDIT_ARCH_*) and the newest number known there; none for no pair.
pub(super) fn prologue(newest: &[(u32, u32)]) -> Vec<u8> {
    if newest.is_empty() {
        return vec![];
    }
    let mut program = instruction(LOAD, 0, 0, ARCHITECTURE);
    for (done, (architecture, number)) in newest.iter().enumerate() {
        // From the third instruction of this block to the profile's first; few architectures, so always a byte.
        let to_profile = ((newest.len() - done) * BLOCK - 3) as u8;
        program.extend(instruction(IF_EQUAL, 0, BLOCK as u8 - 1, *architecture));
        program.extend(instruction(LOAD, 0, 0, NUMBER));
        program.extend(instruction(IF_GREATER, 0, to_profile, *number));
        program.extend(instruction(IF_GREATER_EQUAL, to_profile - 1, 0, X32));
        program.extend(instruction(RETURN, 0, 0, RETURN_ENOSYS));
    }
    program
}

/// `struct sock_filter`.
fn instruction(code: u16, if_true: u8, if_false: u8, k: u32) -> Vec<u8> {
    let mut bytes = code.to_ne_bytes().to_vec();
    bytes.extend([if_true, if_false]);
    bytes.extend(k.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program that has only our instructions; `None`: it went on to the profile.
    fn run(program: &[u8], architecture: u32, number: u32) -> Option<u32> {
        let (mut at, mut accumulator) = (0, 0);
        while let Some(bytes) = program.get(at * 8..at * 8 + 8) {
            let (code, k) = (
                u16::from_ne_bytes([bytes[0], bytes[1]]),
                u32::from_ne_bytes(bytes[4..].try_into().unwrap()),
            );
            let (jump, otherwise) = (usize::from(bytes[2]), usize::from(bytes[3]));
            at += 1;
            match code {
                LOAD => accumulator = if k == NUMBER { number } else { architecture },
                IF_EQUAL => at += if accumulator == k { jump } else { otherwise },
                IF_GREATER => at += if accumulator > k { jump } else { otherwise },
                IF_GREATER_EQUAL => at += if accumulator >= k { jump } else { otherwise },
                RETURN => return Some(k),
                _ => panic!("instruction {code:#x}"),
            }
        }
        assert_eq!(
            at * 8,
            program.len(),
            "jumped beyond the profile's first instruction"
        );
        None
    }

    #[test]
    fn only_numbers_above_the_newest_of_their_architecture_are_unknown() {
        let program = prologue(&[(1, 450), (2, 400), (3, 300)]);
        for (architecture, number, unknown) in [
            (1, 450, false),
            (1, 451, true),
            (1, 0, false),
            (1, X32, false),
            (1, X32 + 500, false),
            (1, u32::MAX, false),
            (2, 400, false),
            (2, 401, true),
            (3, 300, false),
            (3, 301, true),
            (4, 9999, false),
        ] {
            let expected = unknown.then_some(RETURN_ENOSYS);
            assert_eq!(
                run(&program, architecture, number),
                expected,
                "{architecture} {number}"
            );
        }
    }
}
