//! Files that may be packed.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const BUFFER: usize = 1 << 16;

/// What Windows writes before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What `input` says, without a byte order mark, unpacked if it is a gzip (RFC 1952, whose magic number is no UTF-8 text),
/// and whether it is.
///
/// # Errors
/// Its first bytes cannot be read.
pub fn unpack<'a>(input: impl Read + 'a) -> io::Result<(Box<dyn BufRead + 'a>, bool)> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let is_packed = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let mut text: Box<dyn BufRead + 'a> = match is_packed {
        true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))),
        false => Box::new(input),
    };
    if text.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        text.consume(BYTE_ORDER_MARK.len());
    }
    Ok((text, is_packed))
}
