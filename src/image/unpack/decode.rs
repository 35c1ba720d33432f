//! Inflates a layer, by what its first bytes say: media types lie.

use std::io::{self, BufRead, Cursor, Read};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Zstandard frames whose content is to be skipped: 0x184D2A50 to 5F, little-endian.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
/// Zstandard windows above 128 MiB are refused: a decoder holds a window in memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Wraps a reader of packed bytes in one of plain bytes. Reads to the last member and frame: what follows the first is
/// content too, and garbage is an error.
pub(in crate::image) fn inflate<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(4);
    packed.by_ref().take(4).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(packed);
    if magic.starts_with(GZIP) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)));
    }
    if magic == ZSTD || (magic.len() == 4 && &magic[1..] == ZSTD_SKIPPABLE && magic[0] & 0xf0 == 0x50) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(packed: &[u8], expected: &[u8]) {
        let mut plain = Vec::new();

        inflate(packed).unwrap().read_to_end(&mut plain).unwrap();

        assert_eq!(plain, expected);
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packing_is_told_by_the_first_bytes() {
        check(b"", b"");
        check(b"abc", b"abc");
        check(b"plain bytes", b"plain bytes");
        check(&gzip(b"some text"), b"some text");
        check(&zstd::encode_all(&b"some text"[..], 3).unwrap(), b"some text");
    }

    #[test]
    fn members_and_frames_after_the_first_are_content() {
        check(&[gzip(b"one"), gzip(b"two")].concat(), b"onetwo");
        let frames = [
            zstd::encode_all(&b"one"[..], 3).unwrap(),
            zstd::encode_all(&b"two"[..], 3).unwrap(),
        ];
        check(&frames.concat(), b"onetwo");
    }

    #[test]
    fn garbage_after_a_gzip_member_is_an_error() {
        let mut packed = gzip(b"one");
        packed.extend_from_slice(b"garbage");

        let result = inflate(&packed[..]).unwrap().read_to_end(&mut Vec::new());

        assert!(result.is_err());
    }
}
