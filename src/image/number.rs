//! The names of layers and of what is in work: numbers, short, since overlay's options have to fit one page.

/// Numbers are named in base 36.
pub(super) fn name_number(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 36) as u32, 36).expect("below 36"));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

pub(super) fn parse_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name, 36)
        .ok()
        .filter(|n| name_number(*n) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_name() {
        for number in [0, 1, 35, 36, 1_000_000] {
            assert_eq!(parse_number(&name_number(number)), Some(number));
        }
        assert_eq!(parse_number("01"), None);
        assert_eq!(parse_number("A"), None);
    }
}
