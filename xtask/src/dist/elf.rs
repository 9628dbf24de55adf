//! What has to be known of an ELF binary: whether it asks for a loader, and what is in one of its sections. Called by `dist` and
//! `audit`. It reads 64-bit files, least byte first, as both kinds of machine have them, and never beyond a file's end.

/// Marks a 64-bit file, least byte first.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// Type of the segment that names a loader.
const PT_INTERP: usize = 3;

/// Whether it asks for no loader.
pub(super) fn is_static(elf: &[u8]) -> bool {
    let types = table(elf, (32, 54, 56)).and_then(|headers| {
        headers.into_iter().map(|header| number(elf, header, 4)).collect::<Option<Vec<_>>>()
    });
    types.is_some_and(|types| !types.contains(&PT_INTERP))
}

/// What is in the section of this name, if there is one.
pub(super) fn section<'e>(elf: &'e [u8], name: &str) -> Option<&'e [u8]> {
    let headers = table(elf, (40, 58, 60))?;
    let content = |header: usize| {
        let start = number(elf, header.checked_add(24)?, 8)?;
        elf.get(start..start.checked_add(number(elf, header.checked_add(32)?, 8)?)?)
    };
    // The section that the names of all are in.
    let names = content(*headers.get(number(elf, 62, 2)?)?)?;
    let is_named = |header: usize| {
        let rest = names.get(number(elf, header, 4)?..)?;
        Some(rest.split(|byte| *byte == 0).next()? == name.as_bytes())
    };
    headers.into_iter().find(|header| is_named(*header) == Some(true)).and_then(content)
}

/// Where the headers of a table begin; the file's own header has its offset, the size of one and their number at these places.
fn table(elf: &[u8], (offset, size, count): (usize, usize, usize)) -> Option<Vec<usize>> {
    if !elf.starts_with(MAGIC) {
        return None;
    }
    let (start, size, count) = (number(elf, offset, 8)?, number(elf, size, 2)?, number(elf, count, 2)?);
    (0..count).map(|entry| start.checked_add(entry * size)).collect()
}

fn number(elf: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let raw = elf.get(at..at.checked_add(bytes)?)?;
    Some(raw.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// A file with one section of this name, beside the one with the names.
#[cfg(test)]
pub(super) fn with_section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; 64];
    let names = format!("\0{name}\0");
    let places = [elf.len(), elf.len() + names.len()];
    elf.extend(names.bytes());
    elf.extend(content);
    let put = |elf: &mut Vec<u8>, at: usize, number: usize| {
        elf[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    };
    let headers = elf.len();
    put(&mut elf, 40, headers);
    (elf[58], elf[60], elf[62]) = (40, 2, 0);
    elf[..MAGIC.len()].copy_from_slice(MAGIC);
    for (place, length) in places.into_iter().zip([names.len(), content.len()]) {
        let header = elf.len();
        elf.resize(header + 40, 0);
        put(&mut elf, header, usize::from(place != places[0]));
        put(&mut elf, header + 24, place);
        put(&mut elf, header + 32, length);
    }
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One program header of this type.
    fn with_segment(kind: u8) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..MAGIC.len()].copy_from_slice(MAGIC);
        (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, kind);
        elf
    }

    fn this_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_binary_with_a_loader_is_not_static() {
        assert!(is_static(&with_segment(1)));
        assert!(!is_static(&with_segment(3)), "PT_INTERP");
        assert!(!is_static(with_segment(1).get(..66).unwrap()), "cut off");
        assert!(!is_static(b"#!/bin/sh\n"));
        // This very program is of the usual kind.
        assert!(!is_static(&this_program()));
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let elf = with_section(".list", b"content");
        assert_eq!(section(&elf, ".list"), Some(&b"content"[..]));
        for other in [".lis", ".list2", "ist"] {
            assert_eq!(section(&elf, other), None, "{other}");
        }
        for length in 0..elf.len() {
            assert_eq!(section(&elf[..length], ".list"), None, "cut off at {length}");
        }
        let program = this_program();
        assert!(section(&program, ".interp").unwrap().starts_with(b"/lib"));
    }
}
