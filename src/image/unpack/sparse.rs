//! Sparse files: where the bytes that an archive holds belong in the file.

use std::io::Read;

use tar::GnuSparseHeader;

use super::UnpackError;

/// More pieces than this are refused.
const MAX_CHUNKS: usize = 1 << 18;
const BLOCK: usize = 512;

/// A piece of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub offset: u64,
    pub length: u64,
}

fn malformed(what: &str) -> UnpackError {
    UnpackError::Malformed(format!("sparse file {what}"))
}

/// Pairs offsets with lengths and drops empty pieces.
pub(super) fn pair(numbers: &[u64]) -> Result<Vec<Chunk>, UnpackError> {
    if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MAX_CHUNKS {
        return Err(malformed("has a broken map"));
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| Chunk {
            offset: pair[0],
            length: pair[1],
        })
        .filter(|chunk| chunk.length > 0)
        .collect())
}

/// Adds the pieces of an old GNU header block.
pub(super) fn add_gnu(chunks: &mut Vec<Chunk>, headers: &[GnuSparseHeader]) -> Result<(), UnpackError> {
    for header in headers.iter().take_while(|h| !h.is_empty()) {
        if chunks.len() >= MAX_CHUNKS {
            return Err(malformed("has too many pieces"));
        }
        let offset = header.offset().map_err(|_| malformed("has a broken map"))?;
        let length = header.length().map_err(|_| malformed("has a broken map"))?;
        if length > 0 {
            chunks.push(Chunk { offset, length });
        }
    }
    Ok(())
}

/// Reads the map at the head of the content (version 1.0): the number of pieces, then their numbers, a line each, padded
/// to a block. Returns the pieces and the bytes read.
pub(super) fn read_map(data: &mut impl Read) -> Result<(Vec<Chunk>, u64), UnpackError> {
    let mut block = [0; BLOCK];
    let mut read = 0;
    let mut wanted = None;
    let mut numbers = Vec::new();
    let mut current: Option<u64> = None;
    loop {
        data.read_exact(&mut block).map_err(UnpackError::Read)?;
        read += BLOCK as u64;
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    current = current
                        .unwrap_or(0)
                        .checked_mul(10)
                        .and_then(|n| n.checked_add(digit));
                    if current.is_none() {
                        return Err(malformed("has a broken map"));
                    }
                }
                b'\n' => {
                    let number = current.take().ok_or_else(|| malformed("has a broken map"))?;
                    match wanted {
                        None if number > MAX_CHUNKS as u64 => return Err(malformed("has too many pieces")),
                        None => wanted = Some(number as usize * 2),
                        Some(_) => numbers.push(number),
                    }
                    if wanted == Some(numbers.len()) {
                        return Ok((pair(&numbers)?, read));
                    }
                }
                _ => return Err(malformed("has a broken map")),
            }
        }
    }
}

/// Checks that pieces ascend, lie within the file, and are as many bytes as the archive holds.
pub(super) fn validate(chunks: &[Chunk], size: u64, stored: u64) -> Result<(), UnpackError> {
    let mut end = 0;
    let mut sum = 0u64;
    for chunk in chunks {
        if chunk.offset < end {
            return Err(malformed("has overlapping pieces"));
        }
        end = chunk
            .offset
            .checked_add(chunk.length)
            .filter(|end| *end <= size)
            .ok_or_else(|| malformed("has a piece beyond its end"))?;
        sum += chunk.length;
    }
    if sum != stored {
        return Err(malformed("has other pieces than content"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u64], size: u64, stored: u64, good: bool) {
        let chunks = pair(numbers).unwrap();

        assert_eq!(validate(&chunks, size, stored).is_ok(), good, "{numbers:?}");
    }

    #[test]
    fn maps_are_checked() {
        check(&[], 0, 0, true);
        check(&[0, 10, 100, 5], 105, 15, true);
        check(&[0, 10, 100, 5, 200, 0], 105, 15, true);
        check(&[0, 10, 5, 5], 105, 15, false);
        check(&[0, 10, 100, 6], 105, 16, false);
        check(&[0, 10], 105, 11, false);
        check(&[u64::MAX, 10], u64::MAX, 10, false);
    }

    #[test]
    fn a_map_in_the_content_takes_whole_blocks() {
        let mut data = b"2\n0\n4\n8192\n4\n".to_vec();
        data.resize(512, 0);

        let (chunks, read) = read_map(&mut &data[..]).unwrap();

        assert_eq!(chunks, pair(&[0, 4, 8192, 4]).unwrap());
        assert_eq!(read, 512);
    }
}
