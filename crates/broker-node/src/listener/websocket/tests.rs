//! The deframer with plain values: any cut of the bytes gives the same data.

use super::frame::*;

fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0xFF);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn feed_in_steps(deframer: &mut Deframer, raw: &[u8], step: usize) -> (Vec<u8>, Vec<Reply>) {
    let (mut data, mut replies) = (Vec::new(), Vec::new());
    for part in raw.chunks(step) {
        let mut part = part.to_vec();
        let (count, reply) = deframer.feed(&mut part);
        data.extend_from_slice(&part[..count]);
        replies.extend(reply.unwrap());
    }
    (data, replies)
}

#[test]
fn any_cut_of_the_bytes_gives_the_same_data() {
    let long: Vec<u8> = (0..70_000_u32).map(|n| u8::try_from(n % 253).unwrap()).collect();
    let raw = [
        masked(0x82, [1, 2, 3, 4], b"one"),
        masked(0x02, [9, 8, 7, 6], &long[..300]),
        masked(0x89, [5, 5, 5, 6], b"are you there"),
        masked(0x00, [0; 4], b""),
        masked(0x80, [255, 0, 255, 1], &long),
        masked(0x8A, [1; 4], b"unasked"),
        masked(0x82, [1; 4], b""),
        masked(0x89, [1; 4], b""),
    ]
    .concat();
    let expected = [b"one", &long[..300], &long[..]].concat();
    let pongs = [Reply::Pong(b"are you there".to_vec()), Reply::Pong(Vec::new())];
    for step in [1, 2, 3, 5, 7, 13, 100, 4096] {
        let (data, replies) = feed_in_steps(&mut Deframer::default(), &raw, step);
        assert!(data == expected, "{step}");
        assert_eq!(replies, pongs, "{step}");
    }
    // In one piece only the latest ping is answered.
    let (data, replies) = feed_in_steps(&mut Deframer::default(), &raw, raw.len());
    assert!(data == expected);
    assert_eq!(replies, pongs[1..]);
}

#[test]
fn data_before_a_close_is_kept_and_what_follows_is_not() {
    let mut raw =
        [masked(0x82, [1; 4], b"kept"), masked(0x88, [2; 4], b"\x03\xE8bye"), b"lost".to_vec()].concat();
    let (count, reply) = Deframer::default().feed(&mut raw);
    assert_eq!(&raw[..count], b"kept");
    assert_eq!(reply, Ok(Some(Reply::Close(vec![3, 0xE8]))));
}

#[test]
fn no_bytes_panic() {
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        let mut raw: Vec<u8> = (0..40)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u8::try_from(seed >> 56).unwrap()
            })
            .collect();
        raw[0] = [0x82, 0x02, 0x89, 0x88][usize::from(raw[0] % 4)];
        raw[1] |= 0x80;
        let len = raw.len();
        let (count, _) = Deframer::default().feed(&mut raw);
        assert!(count <= len);
    }
}

#[test]
fn our_headers_have_the_shortest_length() {
    assert_eq!(frame_header(BINARY, 125).as_slice(), [0x82, 125]);
    assert_eq!(frame_header(BINARY, 126).as_slice(), [0x82, 126, 0, 126]);
    assert_eq!(frame_header(BINARY, 65_536).as_slice(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}
