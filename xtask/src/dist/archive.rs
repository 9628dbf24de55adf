//! A tar archive, the same for the same files: what an image's layer is. Called by `image`. It never reads a file, and knows no
//! names longer than a header has room for.

use anyhow::{Result, ensure};

/// Headers and contents are made of blocks of so many bytes.
const BLOCK: usize = 512;
/// Bytes of a name.
const NAME_MAX: usize = 100;

/// One file or folder.
pub(super) struct Entry<'a> {
    /// Relative, without a slash at either end.
    pub(super) path: &'a str,
    /// Who it belongs to.
    pub(super) owner: u32,
    /// Content of a file; nothing for a folder.
    pub(super) content: Option<&'a [u8]>,
}

/// The archive. Times are 0, so that nothing in it tells when it was made.
///
/// # Errors
/// A name that is too long.
pub(super) fn write(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for entry in entries {
        let content = entry.content.unwrap_or_default();
        archive.extend(header(entry, content.len())?);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks are its end.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// A header of POSIX' ustar: numbers are octal, and the sum is made while its own field has blanks.
fn header(entry: &Entry<'_>, length: usize) -> Result<Vec<u8>> {
    let is_folder = entry.content.is_none();
    let name = format!("{}{}", entry.path, if is_folder { "/" } else { "" });
    ensure!(name.len() <= NAME_MAX, "the name {name} is too long for the archive");
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |text: String, width: usize| {
        let end = header.len() + width;
        header.extend(text.bytes());
        header.resize(end, 0);
    };
    field(name, NAME_MAX);
    field("0000755".to_owned(), 8);
    field(format!("{:07o}", entry.owner), 8);
    field(format!("{:07o}", entry.owner), 8);
    field(format!("{length:011o}"), 12);
    field(format!("{:011o}", 0), 12);
    field(" ".repeat(8), 8);
    field(if is_folder { "5" } else { "0" }.to_owned(), 1);
    field(String::new(), 100);
    field("ustar\x0000".to_owned(), 8);
    header.resize(BLOCK, 0);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_what_is_written() {
        let entries = [
            Entry { path: "usr", owner: 0, content: None },
            Entry { path: "usr/file", owner: 0, content: Some(b"content") },
            Entry { path: "var", owner: 65_532, content: None },
        ];
        let archive = write(&entries).unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        assert_eq!(archive, write(&entries).unwrap());
        let mut tar = Command::new("tar");
        tar.args(["--list", "--verbose", "--numeric-owner", "--utc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = tar.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        let text = String::from_utf8(done.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "usr/"]);
        assert_eq!(lines[1], ["-rwxr-xr-x", "0/0", "7", "1970-01-01", "00:00", "usr/file"]);
        assert_eq!(lines[2], ["drwxr-xr-x", "65532/65532", "0", "1970-01-01", "00:00", "var/"]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let path = "a".repeat(NAME_MAX);
        assert!(write(&[Entry { path: &path, owner: 0, content: Some(b"") }]).is_ok());
        assert!(write(&[Entry { path: &path, owner: 0, content: None }]).is_err());
    }
}
