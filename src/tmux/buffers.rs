//! Paste buffers: which there are, what is in them, and making them.

use super::command::Command;
use super::escape::counted;
use super::{Tmux, TmuxError};
use crate::model::{Buffer, ByteString};

/// How many buffers are looked at, the newest.
pub const BUFFERS_MAX: usize = 50;

/// The largest that is read, in bytes.
pub const BUFFER_BYTES_MAX: u64 = 1024 * 1024;

/// A paste buffer as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listed {
    /// Its name.
    pub name: ByteString,
    /// Its size in bytes.
    pub size: u64,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

/// Returns a server's buffers, the newest first, as `list-buffers` has them. One with a name that cannot be read
/// back is left out.
pub async fn list(tmux: &Tmux, version: &str) -> Result<Vec<Listed>, TmuxError> {
    let format = "#{buffer_size} #{buffer_created} #{n:buffer_name}:#{buffer_name}";
    let output = tmux.run(&[Command::new("list-buffers").flag("-F", format)]).await?;
    Ok(output.split(|byte| *byte == b'\n').filter_map(|line| listed(line, version)).collect())
}

fn listed(line: &[u8], version: &str) -> Option<Listed> {
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut number = || str::from_utf8(fields.next()?).ok()?.parse::<i64>().ok();
    let (size, created) = (number()?, number()?);
    let name = counted(fields.next()?, version)?;
    Some(Listed { name: name.into(), size: u64::try_from(size).ok()?, created })
}

/// Returns the content of a buffer.
pub async fn read(tmux: &Tmux, name: &ByteString) -> Result<Vec<u8>, TmuxError> {
    tmux.run(&[Command::new("save-buffer").arg("-b").arg(name.as_os_str()).arg("-")]).await
}

/// Makes a buffer, or changes the one that has this name. One whose name is tmux's own gets such a name anew: given by
/// us, it would be a name like any other.
pub async fn load(tmux: &Tmux, name: &ByteString, content: &[u8]) -> Result<(), TmuxError> {
    let load = Command::new("load-buffer");
    let load = if Buffer::is_automatic(name) { load } else { load.arg("-b").arg(name.as_os_str()) };
    tmux.run_with_input(&[load.arg("-")], content).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_those_that_are_none_left_out() {
        let read = |line: &str| listed(line.as_bytes(), "3.3a").map(|one| (one.name.to_string(), one.size));
        let cases: [(&str, Option<(&str, u64)>); 5] = [
            ("12 1700000000 7:buffer0", Some(("buffer0", 12))),
            ("1 1700000000 9:a b: c#{}", Some(("a b: c#{}", 1))),
            ("-1 1700000000 7:buffer0", None),
            ("12 1700000000 7:buffer", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), expected.map(|(name, size)| (name.to_owned(), size)), "{line}");
        }
    }
}
