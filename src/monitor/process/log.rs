//! CRI log lines.
//!
//! ```text
//! 2026-11-22T02:31:05.123456789Z stdout F a whole line
//! 2026-11-22T02:31:05.123456789Z stderr P a part of a line that is longer than 16 KiB, or has no end yet
//! ```
//!
//! A file holds whole lines only: each write is one line or several, so a rotation between two writes never cuts one.

use crate::monitor::protocol::LogFile;
use crate::sys::clock::rfc_3339;
use crate::sys::{planted, step};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use std::fs::File;
use std::io::{self, Write};
use std::time::SystemTime;

/// Longest text of one log line, as the kubelet and its peers expect.
pub(super) const LONGEST: usize = 16 << 10;

/// An open log file.
#[derive(Debug)]
pub(super) struct Log {
    place: LogFile,
    file: File,
    /// The last write was cut off inside a line, by a full disk.
    torn: bool,
}

impl Log {
    /// Opens or makes the file. Below the directory no link is followed, and nothing but a file is written to: a
    /// container that can write to its logs must not choose where they go, nor have us wait for a reader.
    pub(super) fn open(place: &LogFile) -> io::Result<Log> {
        let within = |e: io::Error| {
            let path = place.directory.join(&place.path);
            io::Error::new(e.kind(), format!("log {}: {e}", path.display()))
        };
        let file = Log::open_file(place).map_err(within)?;
        Ok(Log {
            place: place.clone(),
            file,
            torn: false,
        })
    }

    fn open_file(place: &LogFile) -> io::Result<File> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(&place.directory, directory, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let mode = Mode::from_raw_mode(0o640);
        let file = File::from(openat2(directory, &place.path, flags, mode, resolve)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        Ok(file)
    }

    /// Opens the path again, after someone has moved the file away. On failure the old one stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Log::open(&self.place)?;
        Ok(())
    }

    /// Writes whole lines. Lines that do not fit on the disk are lost; the next ones start on a line of their own.
    fn append(&mut self, lines: &[u8]) {
        step("monitor.log");
        if self.torn && self.file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let written = &lines[..lines.len() - rest.len()];
        self.torn |= !rest.is_empty() && written.last().is_some_and(|b| *b != b'\n');
    }
}

/// Cuts a stream of bytes into log lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: &'static str,
    /// What has come of the present line; at most [`LONGEST`] bytes.
    partial: Vec<u8>,
}

impl Lines {
    /// `stream` is `stdout` or `stderr`.
    pub(super) fn new(stream: &'static str) -> Lines {
        Lines {
            stream,
            partial: vec![],
        }
    }

    /// Logs what has been read.
    pub(super) fn push(&mut self, mut data: &[u8], log: &mut Log) {
        let stamp = rfc_3339(SystemTime::now()).to_string();
        let mut out = vec![];
        while !data.is_empty() {
            let room = LONGEST - self.partial.len();
            let end = data.iter().take(room + 1).position(|b| *b == b'\n');
            match end {
                Some(end) => {
                    self.line(&mut out, &stamp, 'F', &data[..end]);
                    data = &data[end + 1..];
                }
                None if data.len() > room => {
                    let tag = if planted("partial-line") { 'F' } else { 'P' };
                    self.line(&mut out, &stamp, tag, &data[..room]);
                    data = &data[room..];
                }
                None => {
                    self.partial.extend_from_slice(data);
                    data = &[];
                }
            }
        }
        if !out.is_empty() {
            log.append(&out);
        }
    }

    /// Logs a line that never got its end.
    pub(super) fn finish(&mut self, log: &mut Log) {
        if !self.partial.is_empty() {
            let mut out = vec![];
            self.line(&mut out, &rfc_3339(SystemTime::now()).to_string(), 'P', &[]);
            log.append(&out);
        }
    }

    fn line(&mut self, out: &mut Vec<u8>, stamp: &str, tag: char, rest: &[u8]) {
        let _ = write!(out, "{stamp} {} {tag} ", self.stream);
        // Given back: most lines arrive in one piece, and this buffer would stay dirty in every monitor.
        out.append(&mut std::mem::take(&mut self.partial));
        out.extend_from_slice(rest);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn place(path: &Path) -> LogFile {
        LogFile {
            directory: path.parent().unwrap().to_owned(),
            path: path.file_name().unwrap().into(),
        }
    }

    /// Logs the pieces and returns "tag text" of each line.
    fn logged(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, mut lines) = (Log::open(&place(&path)).unwrap(), Lines::new("stdout"));
        pieces.iter().for_each(|piece| lines.push(piece, &mut log));
        lines.finish(&mut log);
        let text = std::fs::read_to_string(&path).unwrap();
        let parts = |line: &str| {
            let parts: Vec<&str> = line.splitn(4, ' ').collect();
            assert_eq!((parts[0].len(), parts[1]), (30, "stdout"));
            (parts[2].to_owned(), parts[3].to_owned())
        };
        text.lines().map(parts).collect()
    }

    fn line(tag: &str, text: &str) -> (String, String) {
        (tag.into(), text.into())
    }

    #[test]
    fn lines_arrive_whole_however_they_were_written() {
        assert_eq!(logged(&[b"a\nb\n"]), [line("F", "a"), line("F", "b")]);
        assert_eq!(logged(&[b"a", b"b\n", b"\n"]), [line("F", "ab"), line("F", "")]);
        assert_eq!(logged(&[b"a\nno end"]), [line("F", "a"), line("P", "no end")]);
        assert_eq!(logged(&[b""]), []);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_split_and_one_as_long_is_not() {
        let (full, more) = ("x".repeat(LONGEST), "x".repeat(LONGEST + 3));
        assert_eq!(logged(&[full.as_bytes(), b"\n"]), [line("F", &full)]);
        assert_eq!(
            logged(&[more.as_bytes(), b"y\n"]),
            [line("P", &full), line("F", "xxxy")]
        );
        let halves = [&more.as_bytes()[..9000], &more.as_bytes()[9000..], b"\n"];
        assert_eq!(logged(&halves), [line("P", &full), line("F", "xxx")]);
    }

    #[test]
    fn a_reopened_log_goes_to_the_path_again_and_a_failed_one_to_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let (mut log, mut lines) = (Log::open(&place(&path)).unwrap(), Lines::new("stderr"));

        lines.push(b"one\ntw", &mut log);
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        lines.push(b"o\n", &mut log);
        std::fs::rename(&path, dir.path().join("log.2")).unwrap();
        std::fs::create_dir(&path).unwrap();
        log.reopen().unwrap_err();
        lines.push(b"three\n", &mut log);

        assert!(std::fs::read_to_string(&moved).unwrap().ends_with("F one\n"));
        let second = std::fs::read_to_string(dir.path().join("log.2")).unwrap();
        assert!(second.contains("F two\n") && second.ends_with("F three\n"));
    }

    #[test]
    fn only_files_are_logged_to_and_no_link_below_the_directory_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let open = |path: &str| {
            Log::open(&LogFile {
                directory: dir.path().into(),
                path: path.into(),
            })
        };
        std::fs::create_dir_all(at("real/directory")).unwrap();
        std::os::unix::fs::symlink(at("victim"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("real"), at("parent")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), Mode::from_raw_mode(0o600)).unwrap();

        for path in [
            "link",
            "parent/log",
            "fifo",
            "real/directory",
            "../log",
            "real/../../log",
        ] {
            assert!(open(path).is_err(), "{path}");
        }
        open("real/log").unwrap();
        assert!(!at("victim").exists() && !at("real/../../log").exists());
    }
}
