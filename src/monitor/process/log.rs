//! CRI log lines.
//!
//! ```text
//! 2026-11-22T02:31:05.123456789Z stdout F a whole line
//! 2026-11-22T02:31:05.123456789Z stderr P a part of a line that is longer than 16 KiB, or has no end yet
//! ```
//!
//! A file holds whole lines only: each write is one line or several, so a rotation between two writes never cuts one.

use crate::monitor::protocol::{Event, LogFile};
use crate::sys::clock::rfc_3339;
use crate::sys::{planted, step};
use memchr::memchr;
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
    /// Lines and bytes that were dropped since the log last said so, and why.
    lost: (u64, u64),
    why: String,
    news: Vec<Event>,
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
            lost: (0, 0),
            why: String::new(),
            news: vec![],
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
        self.file = Log::open(&self.place)?.file;
        self.torn = false;
        self.make_up();
        Ok(())
    }

    /// Writes whole lines. Lines that do not fit on the disk are dropped and counted: the container does not wait.
    fn append(&mut self, lines: &[u8]) {
        step("monitor.log");
        if !self.make_up() {
            return self.lose(lines);
        }
        if let Err(error) = self.write(lines) {
            self.news.push(Event::LogBroken {
                error: error.to_string(),
            });
            self.why = error.to_string();
        }
    }

    /// Writes the lines that there is room for.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let written = lines.len() - rest.len();
                    let whole = lines[..written]
                        .iter()
                        .rposition(|b| *b == b'\n')
                        .map_or(0, |at| at + 1);
                    let kept = match self.cut_back(written - whole) {
                        Ok(()) => whole,
                        // The next line starts on a line of its own.
                        Err(_) => {
                            self.torn = true;
                            written
                        }
                    };
                    self.lose(&lines[kept..]);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Takes the beginning of a line back: a file holds whole lines only.
    fn cut_back(&self, count: usize) -> io::Result<()> {
        match count {
            0 => Ok(()),
            _ => self
                .file
                .set_len(self.file.metadata()?.len().saturating_sub(count as u64)),
        }
    }

    fn lose(&mut self, lines: &[u8]) {
        self.lost.0 += lines.iter().filter(|b| **b == b'\n').count() as u64;
        self.lost.1 += lines.len() as u64;
    }

    /// Tells whether lines were dropped and the log does not say so yet.
    pub(super) fn owes(&self) -> bool {
        self.lost != (0, 0)
    }

    /// Says in the log what was dropped, if there is room again; false: there is none.
    pub(super) fn make_up(&mut self) -> bool {
        if !self.owes() {
            return true;
        }
        let ((lines, bytes), why) = (self.lost, &self.why);
        let end = if self.torn { "\n" } else { "" };
        let stamp = rfc_3339(SystemTime::now());
        let notice = format!(
            "{end}{stamp} stderr F coracle: {lines} lines ({bytes} bytes) of output were lost: {why}\n"
        );
        let before = self.lost;
        let told = self.write(notice.as_bytes()).is_ok();
        // The notice itself is none of the container's lines.
        self.lost = before;
        if told {
            (self.lost, self.torn) = ((0, 0), false);
            self.news.push(Event::LogMended { lines, bytes });
        }
        told
    }

    /// What the daemon is to be told.
    pub(super) fn take_news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.news)
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
        let beginning = self.beginning();
        // Of lines as long as their beginnings.
        let mut out = Vec::with_capacity(2 * data.len());
        while !data.is_empty() {
            let room = LONGEST - self.partial.len();
            match memchr(b'\n', &data[..data.len().min(room + 1)]) {
                Some(end) => {
                    self.line(&mut out, &beginning, b'F', &data[..end]);
                    data = &data[end + 1..];
                }
                None if data.len() > room => {
                    let tag = if planted("partial-line") { b'F' } else { b'P' };
                    self.line(&mut out, &beginning, tag, &data[..room]);
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
            self.line(&mut out, &self.beginning(), b'P', &[]);
            log.append(&out);
        }
    }

    /// What comes before a line's tag: the time, which is now, and the stream.
    fn beginning(&self) -> String {
        format!("{} {} ", rfc_3339(SystemTime::now()), self.stream)
    }

    fn line(&mut self, out: &mut Vec<u8>, beginning: &str, tag: u8, rest: &[u8]) {
        out.extend_from_slice(beginning.as_bytes());
        out.extend_from_slice(&[tag, b' ']);
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
    fn what_is_dropped_is_counted_and_told_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut log, mut lines) = (Log::open(&place(&path)).unwrap(), Lines::new("stdout"));
        lines.push(b"one\n", &mut log);
        // Every write to it fails as on a full disk.
        let good = std::mem::replace(
            &mut log.file,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        lines.push(b"two\nthree\n", &mut log);
        lines.push(b"four\n", &mut log);
        log.file = good;
        lines.push(b"five\n", &mut log);

        let text = std::fs::read_to_string(&path).unwrap();
        let told: Vec<_> = text
            .lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap())
            .collect();
        assert_eq!((told.len(), told[0], told[2]), (3, "one", "five"), "{text}");
        assert!(told[1].starts_with("coracle: 3 lines ("), "{text}");
        assert!(
            told[1].ends_with("were lost: No space left on device (os error 28)"),
            "{text}"
        );
        let news = log.take_news();
        assert!(
            matches!(
                news[..],
                [Event::LogBroken { .. }, Event::LogMended { lines: 3, .. }]
            ),
            "{news:?}"
        );
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
