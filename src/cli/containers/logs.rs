//! `coracle logs`: the file that a container's status names, line by line, and on as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::place::Place;
use crate::app::client::Call;
use crate::cli::CliError;
use crate::model::{ContainerState, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse};
use crate::sys::watch::FileWatch;

/// How often it is asked whether the container still runs, while its log is silent.
const ASK: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Options {
    /// Goes on with what is written from now on, until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Begins with so many of the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// Shows when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Its id, the beginning of it, or its name
    container: String,
}

pub(super) async fn run(place: &Place, options: Options) -> Result<ExitCode, CliError> {
    let id = place.find(&options.container).await?.id;
    let status = status(place, &id).await?;
    if status.log_path.is_empty() {
        return Err(CliError::NoLog(id));
    }
    let mut log = Log::open(status.log_path.into(), &options)?;
    let shown = match (log.show(), options.follow) {
        (Ok(()), true) => follow(place, &id, &mut log).await,
        (shown, _) => shown,
    };
    match shown {
        // `coracle logs … | head`
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        shown => shown.map(|()| ExitCode::SUCCESS),
    }
}

async fn follow(place: &Place, id: &str, log: &mut Log) -> Result<(), CliError> {
    let mut watch = FileWatch::new(&log.path).map_err(|e| log.failed("watch", e))?;
    loop {
        // Asked before the log is read: what was written before the end is shown.
        let ended = match status(place, id).await {
            Ok(status) => !matches!(status.state, ContainerState::Running | ContainerState::Created),
            // It was removed, and its log with it.
            Err(CliError::Api { source, .. }) if source.is_not_found() => true,
            Err(error) => return Err(error),
        };
        log.show()?;
        if ended {
            return Ok(());
        }
        // Silence for so long is a reason to ask again.
        let _ = tokio::time::timeout(ASK, watch.changed()).await;
    }
}

async fn status(place: &Place, id: &str) -> Result<ContainerStatus, CliError> {
    let request = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    let action = || format!("ask for the status of {id}");
    let answer: ContainerStatusResponse = place.call(Call::ContainerStatus, &request, action).await?;
    Ok(answer.status.unwrap_or_default())
}

/// A log that is read from where it was left.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    timestamps: bool,
    /// A line whose end is not there yet.
    rest: Vec<u8>,
}

impl Log {
    fn open(path: PathBuf, options: &Options) -> Result<Log, CliError> {
        let failed = |source| CliError::File {
            action: "read the log",
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(failed)?;
        if let Some(lines) = options.tail {
            let start = tail(&mut file, lines).map_err(failed)?;
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
        }
        Ok(Log {
            path,
            file,
            timestamps: options.timestamps,
            rest: vec![],
        })
    }

    fn failed(&self, action: &'static str, source: io::Error) -> CliError {
        CliError::File {
            action,
            path: self.path.clone(),
            source,
        }
    }

    /// Shows what has come. A file that was moved away is read to its end first, then the one in its place.
    fn show(&mut self) -> Result<(), CliError> {
        self.drain()?;
        let Ok(there) = std::fs::metadata(&self.path) else {
            return Ok(());
        };
        let own = self.file.metadata().map_err(|e| self.failed("read the log", e))?;
        if there.ino() == own.ino() && there.dev() == own.dev() {
            return Ok(());
        }
        self.drain()?;
        if let Ok(next) = File::open(&self.path) {
            self.file = next;
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), CliError> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = self
                .file
                .read(&mut piece)
                .map_err(|e| self.failed("read the log", e))?;
            if count == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&piece[..count]);
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                print(&line, self.timestamps)?;
            }
        }
    }
}

/// Where the last `lines` lines begin.
fn tail(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    // The line feed at the very end ends the last line and begins no other.
    let mut wanted = lines + 1;
    let mut piece = vec![0; PIECE];
    while end > 0 {
        let begin = end.saturating_sub(PIECE as u64);
        let part = &mut piece[..usize::try_from(end - begin).unwrap_or(PIECE)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            wanted -= 1;
            if wanted == 0 {
                return Ok(begin + index as u64 + 1);
            }
        }
        end = begin;
    }
    Ok(0)
}

/// One line of a log: `TIME STREAM TAG TEXT`.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    /// The tag is `P`: the text goes on in the next line.
    goes_on: bool,
    text: &'a [u8],
}

fn parts(line: &[u8]) -> Option<Line<'_>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (words.next()?, words.next()?, words.next()?);
    Some(Line {
        time,
        stream,
        goes_on: tag.starts_with(b"P"),
        text: words.next()?.strip_suffix(b"\n")?,
    })
}

/// Prints a line on the stream that it was written on. One that is no log line is printed as it is.
fn print(line: &[u8], timestamps: bool) -> Result<(), CliError> {
    let shown = |out: &mut dyn Write| -> io::Result<()> {
        match parts(line) {
            None => out.write_all(line)?,
            Some(Line {
                time, goes_on, text, ..
            }) => {
                if timestamps {
                    out.write_all(time)?;
                    out.write_all(b" ")?;
                }
                out.write_all(text)?;
                if !goes_on {
                    out.write_all(b"\n")?;
                }
            }
        }
        out.flush()
    };
    let to_errors = parts(line).is_some_and(|line| line.stream == b"stderr");
    let written = match to_errors {
        true => shown(&mut io::stderr().lock()),
        false => shown(&mut io::stdout().lock()),
    };
    written.map_err(CliError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_time_its_stream_and_its_text() {
        let check = |line: &str, expected: Option<(&str, bool, &str)>| {
            let found = parts(line.as_bytes());
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            let found = found.map(|line| (text(line.stream), line.goes_on, text(line.text)));
            assert_eq!(found, expected, "{line:?}");
        };

        check(
            "2026-11-22T02:31:05.1Z stdout F a b\n",
            Some(("stdout", false, "a b")),
        );
        check(
            "2026-11-22T02:31:05.1Z stderr P half\n",
            Some(("stderr", true, "half")),
        );
        check("2026-11-22T02:31:05.1Z stdout F \n", Some(("stdout", false, "")));
        check("nonsense\n", None);
    }

    #[test]
    fn the_last_lines_begin_where_they_begin() {
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let long = "x".repeat(PIECE);

        assert_eq!(tail(&mut file("a\nb\nc\n"), 1).unwrap(), 4);
        assert_eq!(tail(&mut file("a\nb\nc\n"), 2).unwrap(), 2);
        assert_eq!(tail(&mut file("a\nb\nc\n"), 3).unwrap(), 0);
        assert_eq!(tail(&mut file("a\nb\nc\n"), 9).unwrap(), 0);
        assert_eq!(tail(&mut file("a\nb\n"), 0).unwrap(), 4);
        assert_eq!(tail(&mut file(""), 3).unwrap(), 0);
        assert_eq!(tail(&mut file(&format!("a\n{long}\nb\n")), 2).unwrap(), 2);
    }
}
