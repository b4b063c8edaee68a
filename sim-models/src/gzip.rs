//! Files that may be packed.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

const BUFFER: usize = 1 << 16;

/// What `input` says, unpacked if it is a gzip (RFC 1952, whose magic number is no UTF-8 text), and whether it is.
///
/// # Errors
/// Its first bytes cannot be read.
pub fn unpack<'a>(input: impl Read + 'a) -> io::Result<(Box<dyn BufRead + 'a>, bool)> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    Ok(if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        (Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))), true)
    } else {
        (Box::new(input), false)
    })
}
