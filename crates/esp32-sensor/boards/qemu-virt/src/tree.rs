//! The device tree that QEMU hands over, read as far as its boot arguments (Devicetree Specification 0.4, chapter 5).
//! Called by the board at start, and tested on the host. It never reads beyond what it is given.

/// What every tree begins with.
const MAGIC: u32 = 0xD00D_FEED;
/// Words of the header: where the structure and the names of properties begin.
const STRUCTURE: usize = 8;
const NAMES: usize = 12;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;

/// Bytes of the tree that begins like this; `None` where it is none.
pub(crate) fn length(header: &[u8]) -> Option<usize> {
    (word(header, 0)? == MAGIC).then_some(size(word(header, 4)?))
}

/// The property `bootargs` of the node `/chosen`.
pub(crate) fn boot_arguments(tree: &[u8]) -> Option<&str> {
    let names = size(word(tree, NAMES)?);
    let mut at = size(word(tree, STRUCTURE)?);
    let (mut depth, mut chosen) = (0_usize, false);
    loop {
        let token = word(tree, at)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                let name = text(tree, at)?;
                depth += 1;
                // The root has no name, and is the first.
                chosen = depth == 2 && name == "chosen";
                at = aligned(at + name.len() + 1);
            }
            END_NODE => {
                depth = depth.checked_sub(1)?;
                chosen = false;
            }
            PROPERTY => {
                let (length, name) = (size(word(tree, at)?), size(word(tree, at + 4)?));
                if chosen && text(tree, names.checked_add(name)?)? == "bootargs" {
                    let value = text(tree, at + 8)?;
                    return (value.len() < length).then_some(value);
                }
                at = aligned(at.checked_add(8)?.checked_add(length)?);
            }
            NOTHING => {}
            // The end, or no tree at all.
            _ => return None,
        }
    }
}

fn word(tree: &[u8], at: usize) -> Option<u32> {
    let bytes = tree.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// An offset or a length; one that is too large for this machine is beyond any tree.
fn size(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

/// Up to the next zero.
fn text(tree: &[u8], at: usize) -> Option<&str> {
    let rest = tree.get(at..)?;
    let length = rest.iter().position(|byte| *byte == 0)?;
    core::str::from_utf8(rest.get(..length)?).ok()
}

fn aligned(at: usize) -> usize {
    at.div_ceil(4) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of these tokens, with the names `model` and `bootargs`.
    fn tree(structure: &[Token<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        for token in structure {
            match token {
                Token::Node(name) => {
                    body.extend(BEGIN_NODE.to_be_bytes());
                    body.extend(name.as_bytes());
                    body.push(0);
                }
                Token::End => body.extend(END_NODE.to_be_bytes()),
                Token::Nothing => body.extend(NOTHING.to_be_bytes()),
                Token::Property(name, value) => {
                    body.extend(PROPERTY.to_be_bytes());
                    body.extend(u32::try_from(value.len() + 1).unwrap().to_be_bytes());
                    body.extend(if *name == "model" { 0_u32 } else { 6 }.to_be_bytes());
                    body.extend(value.as_bytes());
                    body.push(0);
                }
            }
            body.resize(aligned(body.len()), 0);
        }
        body.extend(9_u32.to_be_bytes());
        let names = 40 + u32::try_from(body.len()).unwrap();
        let mut tree: Vec<u8> = [MAGIC, names + 15, 40, names].iter().flat_map(|w| w.to_be_bytes()).collect();
        tree.resize(40, 0);
        tree.extend(body);
        tree.extend(b"model\0bootargs\0");
        tree
    }

    enum Token<'t> {
        Node(&'t str),
        End,
        Nothing,
        Property(&'t str, &'t str),
    }
    use Token::{End, Node, Nothing, Property};

    #[test]
    fn boot_arguments_are_found_where_they_belong() {
        let tree = tree(&[
            Node(""),
            Property("model", "virt"),
            Node("cpus"),
            Property("bootargs", "not these"),
            Node("chosen"),
            Property("bootargs", "nor these"),
            End,
            End,
            Nothing,
            Node("chosen"),
            Property("model", "x"),
            Property("bootargs", "broker=10.0.2.2 client_id=a"),
            End,
            End,
        ]);
        assert_eq!(length(&tree), Some(tree.len()));
        assert_eq!(boot_arguments(&tree), Some("broker=10.0.2.2 client_id=a"));
    }

    #[test]
    fn without_any_there_are_none() {
        assert_eq!(boot_arguments(&tree(&[Node(""), Node("chosen"), End, End])), None);
        assert_eq!(boot_arguments(&tree(&[Node(""), Property("bootargs", "of the root"), End])), None);
        assert_eq!(length(&[0; 40]), None);
    }

    #[test]
    fn a_broken_tree_ends_the_search() {
        let good = tree(&[Node(""), Node("chosen"), Property("bootargs", "broker=a"), End, End]);
        for end in 0..good.len() {
            let _whatever = boot_arguments(&good[..end]);
        }
        for place in 0..good.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bad = good.clone();
                bad[place] ^= flip;
                let _whatever = boot_arguments(&bad);
            }
        }
    }
}
