//! One line of a file: a value in JSON behind its checksum.

use std::io::{self, BufRead, Read};

use super::FILE_BYTES_MAX;
use crate::store::object_id;

/// How many hex digits of the SHA-256 stand before a line. With 64 bits no damage by chance goes unnoticed, and the
/// line can still be read by people.
const SUM_DIGITS: usize = 16;

/// The longest line that is read, in bytes: what a whole file can hold, so that a version that writes longer entries
/// can be read too. This much memory is needed at most.
const LINE_BYTES_MAX: u64 = FILE_BYTES_MAX;

/// A line as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// It is what was written: its JSON.
    Whole(&'a [u8]),
    /// It is not what was written.
    Damaged {
        /// How many bytes it has.
        bytes: u64,
    },
    /// The file ends before the line does.
    Unfinished {
        /// How many bytes it has.
        bytes: u64,
    },
}

/// Returns the line of a value, with its end.
pub(super) fn seal(json: &[u8]) -> Vec<u8> {
    let sum = object_id(json).to_string();
    [&sum.as_bytes()[..SUM_DIGITS], b" ", json, b"\n"].concat()
}

/// Returns the value of a line without its end, if it is what was sealed.
fn open(line: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = line.split_at_checked(SUM_DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    object_id(json).to_string().as_bytes().starts_with(sum).then_some(json)
}

/// Hands over one line after another.
pub(super) fn each(mut reader: impl BufRead, mut take: impl FnMut(Line<'_>)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bytes = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        if bytes == 0 {
            return Ok(());
        }
        if !ended && bytes == LINE_BYTES_MAX {
            bytes += reader.skip_until(b'\n')? as u64;
            take(Line::Damaged { bytes });
            continue;
        }
        match open(&line) {
            Some(json) => take(Line::Whole(json)),
            None if ended => take(Line::Damaged { bytes }),
            None => {
                take(Line::Unfinished { bytes });
                // It may have been finished meanwhile; the rest would look like a line of its own.
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of a text: the values of whole ones, and a word with the length of others.
    fn lines(text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        each(io::Cursor::new(text), |line| {
            lines.push(match line {
                Line::Whole(json) => String::from_utf8(json.to_vec()).unwrap(),
                Line::Damaged { bytes } => format!("damaged {bytes}"),
                Line::Unfinished { bytes } => format!("unfinished {bytes}"),
            });
        })
        .unwrap();
        lines
    }

    #[test]
    fn a_line_is_sealed_as_it_is_specified() {
        assert_eq!(seal(b"abc"), b"ba7816bf8f01cfea abc\n", "FIPS 180-2, B.1");
    }

    #[test]
    fn a_damaged_line_is_one_line() {
        let (one, two) = (seal(b"1"), seal(b"2"));
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(&[&one[..], &two].concat()), ["1", "2"]);
        assert_eq!(lines(&[&one[..5], b"\n", &two].concat()), ["damaged 6", "2"]);
        assert_eq!(lines(&[b"\n", &two[..]].concat()), ["damaged 1", "2"]);
        assert_eq!(lines(&[&one[..], &two[..two.len() - 1]].concat()), ["1", "2"], "all of it is there");
        assert_eq!(lines(&[&one[..], &two[..two.len() - 2]].concat()), ["1", "unfinished 17"]);
    }

    #[test]
    fn a_line_without_end_needs_no_more_memory_than_a_file() {
        let long = vec![b'x'; 3 * usize::try_from(LINE_BYTES_MAX).unwrap()];
        assert_eq!(lines(&[&long[..], b"\n", &seal(b"1")].concat()), ["damaged 3145729", "1"]);
        assert_eq!(lines(&long), ["damaged 3145728"]);
    }
}
