//! Header blocks of SPDY/3.1: names and values under one zlib stream a direction, which begins with a dictionary and goes
//! on from block to block for the life of the connection.
//!
//! Every block that arrives must be inflated, in order, whatever becomes of it; and every block is deflated in the order
//! in which it is sent.

use std::sync::LazyLock;

use bytes::Buf;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Longest block, inflated.
const LONGEST: usize = 64 << 10;
/// Most headers of a block.
const MOST: u32 = 64;

/// Names and values of one block, the names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::streaming) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header, by its name in lower case.
    pub(in crate::streaming) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    fn parse(mut block: &[u8]) -> Option<Headers> {
        let count = block.try_get_u32().ok().filter(|count| *count <= MOST)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = text(&mut block)?.to_ascii_lowercase();
            let value = text(&mut block)?;
            headers.push((name, value));
        }
        block.is_empty().then_some(Headers(headers))
    }
}

fn text(block: &mut &[u8]) -> Option<String> {
    let length = block.try_get_u32().ok()? as usize;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// A block that cannot be read. The compression is out of step from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a header block that cannot be read")]
pub(super) struct BadBlock;

/// Reads the blocks of one direction.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Inflater {
        Inflater(Decompress::new(true))
    }

    /// Inflates and parses the next block.
    ///
    /// # Errors
    /// The block is malformed, cut short or beyond the limits.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, BadBlock> {
        let mut plain = Vec::with_capacity(1024);
        let begin = self.0.total_in();
        loop {
            let used = usize::try_from(self.0.total_in() - begin).map_err(|_| BadBlock)?;
            let before = (self.0.total_in(), plain.len());
            let inflated = self
                .0
                .decompress_vec(&block[used..], &mut plain, FlushDecompress::Sync);
            match inflated {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| BadBlock)?;
                    continue;
                }
                Err(_) => return Err(BadBlock),
            }
            let all_in = self.0.total_in() - begin == block.len() as u64;
            if all_in && plain.len() < plain.capacity() {
                return Headers::parse(&plain).ok_or(BadBlock);
            }
            if plain.len() >= LONGEST
                || before == (self.0.total_in(), plain.len()) && plain.len() < plain.capacity()
            {
                return Err(BadBlock);
            }
            plain.reserve(1024);
        }
    }
}

/// Writes the blocks of one direction.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Deflater {
        let mut compress = Compress::new(Compression::best(), true);
        compress
            .set_dictionary(&DICTIONARY)
            .expect("a new stream takes a dictionary");
        Deflater(compress)
    }

    /// The next block, without a header in it: the only one that a server sends.
    pub(super) fn empty_block(&mut self) -> Vec<u8> {
        let mut block = Vec::with_capacity(64);
        self.0
            .compress_vec(&0u32.to_be_bytes(), &mut block, FlushCompress::Sync)
            .expect("four bytes can be deflated");
        block
    }
}

/// What both sides assume to have seen: words with their lengths before them, then text.
pub(super) static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lengthy = |word: &&str| [&(word.len() as u32).to_be_bytes(), word.as_bytes()].concat();
    let mut dictionary: Vec<u8> = WORDS.iter().flat_map(lengthy).collect();
    dictionary.extend_from_slice(TEXT.as_bytes());
    dictionary
});

#[rustfmt::skip]
const WORDS: [&str; 65] = [
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset",
    "accept-encoding", "accept-language", "accept-ranges", "age", "allow", "authorization",
    "cache-control", "connection", "content-base", "content-encoding", "content-language",
    "content-length", "content-location", "content-md5", "content-range", "content-type", "date",
    "etag", "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match",
    "if-range", "if-unmodified-since", "last-modified", "location", "max-forwards", "pragma",
    "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after", "server", "te",
    "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public",
    "set-cookie", "keep-alive", "origin",
];

#[rustfmt::skip]
const TEXT: &str = "\
100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 No\
n-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized40\
3 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan F\
eb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunk\
ed,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text\
/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }

    /// Deflates any text as the other side does.
    fn deflate(compress: &mut Compress, plain: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(1 << 20);
        compress
            .compress_vec(plain, &mut block, FlushCompress::Sync)
            .unwrap();
        block
    }

    fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend((text.len() as u32).to_be_bytes());
            plain.extend(text.as_bytes());
        }
        plain
    }

    #[test]
    fn the_dictionary_is_that_of_the_protocol() {
        use sha2::Digest as _;
        let expected = "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02";

        assert_eq!(DICTIONARY.len(), 1423);
        assert_eq!(sha2::Sha256::digest(&*DICTIONARY)[..], hex(expected)[..]);
    }

    #[test]
    fn blocks_made_by_another_library_are_read_one_after_the_other() {
        let mut inflater = Inflater::new();
        let mut check = |block: &str, expected: &[(&str, &str)]| {
            let headers = inflater.read(&hex(block)).unwrap();
            assert_eq!(headers.0.len(), expected.len());
            for (name, value) in expected {
                assert_eq!(headers.get(name), Some(*value), "{name}");
            }
        };

        check(
            "78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff",
            &[("streamtype", "error")],
        );
        check("c22a054ccc29f9a52500000000ffff", &[("streamtype", "stdout")]);
        check(
            "02a5550c395009940829cc8b402a982c0c8024671124ea33415982d100000000ffff",
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
        );
    }

    #[test]
    fn empty_blocks_are_written_as_the_other_library_reads_them() {
        let mut deflater = Deflater::new();

        assert_eq!(deflater.empty_block(), hex("78f9e3c6a7c202a6230600000000ffff"));
        assert_eq!(deflater.empty_block(), hex("020100000000ffff"));
    }

    #[test]
    fn names_are_taken_in_any_case() {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).unwrap();
        let sent = deflate(&mut compress, &block(&[("streamType", "data")]));

        assert_eq!(
            Inflater::new().read(&sent).unwrap().get("streamtype"),
            Some("data")
        );
    }

    #[test]
    fn malformed_blocks_are_refused() {
        let check = |plain: &[u8]| {
            let mut compress = Compress::new(Compression::fast(), true);
            compress.set_dictionary(&DICTIONARY).unwrap();
            let sent = deflate(&mut compress, plain);
            assert_eq!(
                Inflater::new().read(&sent),
                Err(BadBlock),
                "{} bytes",
                plain.len()
            );
        };

        check(b"");
        check(&[0, 0, 0, 1]);
        check(&[&block(&[("a", "b")])[..], b"more"].concat());
        check(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        check(&[0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 0, 0]);
        check(&block(&[("a", "b"); 65]));
        // A bomb: some hundred bytes that would become a mebibyte.
        check(&block(&[("a", &"0".repeat(1 << 20))]));
        assert_eq!(Inflater::new().read(b"no zlib at all"), Err(BadBlock));
    }

    #[test]
    fn a_block_that_is_cut_short_is_refused() {
        let whole = hex("78f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff");
        for end in 0..whole.len() - 5 {
            assert_eq!(Inflater::new().read(&whole[..end]), Err(BadBlock), "{end} bytes");
        }
    }

    #[test]
    fn a_long_block_within_the_limit_is_read() {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).unwrap();
        let value = "v".repeat(20_000);
        let sent = deflate(&mut compress, &block(&[("a", &value)]));

        assert_eq!(
            Inflater::new().read(&sent).unwrap().get("a"),
            Some(value.as_str())
        );
    }
}
