//! One `execve`, prepared before the point from which nothing may fail or be filtered.

use std::ffi::{CString, c_char};
use std::io;

/// Where a command is looked for when the environment names no `PATH`, as containerd and CRI-O do.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Candidates, arguments and environment as C strings, with the tables of pointers that the kernel takes.
#[derive(Debug)]
pub struct Command {
    candidates: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// What the tables point into.
    _strings: Vec<CString>,
}

impl Command {
    /// Prepares `args[0]` with `args` and `env`. A name without a slash is looked up by `execve` itself in each
    /// directory of the environment's `PATH`, so that no check can disagree with it.
    pub fn new(args: &[String], env: &[Vec<u8>]) -> io::Result<Command> {
        let table = |list: &[CString]| {
            list.iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        let candidates = candidates(args, env)?;
        let mut strings = args
            .iter()
            .map(|s| c_string(s.as_bytes()))
            .collect::<io::Result<Vec<_>>>()?;
        let env = env.iter().map(|s| c_string(s)).collect::<io::Result<Vec<_>>>()?;
        let (argv, envp) = (table(&strings), table(&env));
        strings.extend(env);
        Ok(Command {
            candidates,
            argv,
            envp,
            _strings: strings,
        })
    }

    /// Becomes the command; returns only to say why not. Allocates nothing. `EACCES` of one candidate wins over
    /// `ENOENT` of others, as in a shell.
    pub fn exec(&self) -> io::Error {
        let mut result = libc::ENOENT;
        for path in &self.candidates {
            // SAFETY: both tables end with null and point into `_strings`, whose heap buffers never move.
            unsafe { libc::execve(path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
            match io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => result = libc::EACCES,
                other => return io::Error::from_raw_os_error(other),
            }
        }
        io::Error::from_raw_os_error(result)
    }
}

fn candidates(args: &[String], env: &[Vec<u8>]) -> io::Result<Vec<CString>> {
    let Some(name) = args.first().filter(|n| !n.is_empty()) else {
        return Ok(vec![]);
    };
    if name.contains('/') {
        return Ok(vec![c_string(name.as_bytes())?]);
    }
    let path = env
        .iter()
        .find_map(|e| e.strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let join = |dir: &[u8]| {
        let dir = if dir.is_empty() { b"." } else { dir };
        c_string(&[dir, b"/", name.as_bytes()].concat())
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

fn c_string(text: &[u8]) -> io::Result<CString> {
    CString::new(text).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, env: &str, expected: &[&str]) {
        let found = candidates(&[name.into()], &[env.into()]).unwrap();
        assert_eq!(
            found.iter().map(|c| c.to_str().unwrap()).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_command_is_looked_up_in_the_path_of_its_own_environment() {
        check("sh", "PATH=/bin:/opt/x", &["/bin/sh", "/opt/x/sh"]);
        check("sh", "PATH=:/bin", &["./sh", "/bin/sh"]);
        check("/sh", "PATH=/bin", &["/sh"]);
        check("a/sh", "PATH=/bin", &["a/sh"]);
        check("", "PATH=/bin", &[]);
        assert_eq!(candidates(&["sh".into()], &[]).unwrap().len(), 6);
    }
}
