//! The header by which a load balancer tells whose connection it forwards: PROXY protocol, versions 1 and 2.
//! Called by `handshake` for peers that are trusted to say so. Reads exactly the header and keeps nothing of it but an
//! address; extensions (TLV) are skipped. (Section numbers are those of HAProxy's `proxy-protocol.txt`.)

use super::Peer;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins (section 2.2).
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins (section 2.1).
const V1_START: &[u8] = b"PROXY ";
/// Bytes of the longest line of version 1, with its end.
const V1_MAX: usize = 107;
/// Bytes behind the fixed part of version 2 that are read, addresses and extensions together; 536 bytes in all must be
/// taken, balancers that forward certificates send more.
const V2_REST_MAX: usize = 4096;

/// A header that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    /// Not one of the peers that may send a header, nor may it connect without.
    #[error("peer is not in proxy_trusted")]
    Untrusted,
    /// The connection begins with something else.
    #[error("no PROXY header")]
    Missing,
    /// It ends in the middle.
    #[error("truncated PROXY header")]
    Truncated,
    /// Longer than the standard or we allow.
    #[error("oversized PROXY header")]
    TooLong,
    /// It makes no sense, or is about something else than a stream.
    #[error("malformed PROXY header")]
    Malformed,
}

impl From<io::Error> for ProxyError {
    fn from(_: io::Error) -> Self {
        // Whatever ended the connection, the header is not complete.
        Self::Truncated
    }
}

/// Reads one header. `None` where it names no client: health checks (LOCAL), UNKNOWN, unix sockets.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Peer>, ProxyError> {
    let mut start = [0; V2_SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == V2_SIGNATURE {
        return read_v2(stream).await;
    }
    if start.starts_with(V1_START) {
        return read_v1(stream, &start).await;
    }
    Err(ProxyError::Missing)
}

async fn read_v1<S: AsyncRead + Unpin>(stream: &mut S, start: &[u8]) -> Result<Option<Peer>, ProxyError> {
    let mut line = Vec::with_capacity(V1_MAX);
    line.extend_from_slice(start);
    // Byte by byte, as what follows the line is not ours.
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_MAX {
            return Err(ProxyError::TooLong);
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| ProxyError::Malformed)?;
    let words: Vec<&str> = line.trim_end_matches("\r\n").split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4", source, target, port, _] => v1_peer::<Ipv4Addr>(source, target, port).map(Some),
        ["PROXY", "TCP6", source, target, port, _] => v1_peer::<Ipv6Addr>(source, target, port).map(Some),
        _ => Err(ProxyError::Malformed),
    }
}

fn v1_peer<A: std::str::FromStr + Into<IpAddr>>(
    source: &str,
    target: &str,
    port: &str,
) -> Result<Peer, ProxyError> {
    let address: A = source.parse().map_err(|_| ProxyError::Malformed)?;
    target.parse::<A>().map_err(|_| ProxyError::Malformed)?;
    Ok(peer(address.into(), port.parse().map_err(|_| ProxyError::Malformed)?))
}

async fn read_v2<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Peer>, ProxyError> {
    let [version_command, family] = [stream.read_u8().await?, stream.read_u8().await?];
    let length = usize::from(stream.read_u16().await?);
    if length > V2_REST_MAX {
        return Err(ProxyError::TooLong);
    }
    // The longest addresses of interest: two of IPv6 with their ports.
    let mut addresses = [0; 36];
    let (known, _) = addresses.split_at_mut(length.min(36));
    stream.read_exact(known).await?;
    skip(stream, length.saturating_sub(36)).await?;
    let known: &[u8] = known;
    match (version_command, family) {
        (0x20, _) | (0x21, 0x00 | 0x31) => Ok(None),
        (0x21, 0x11) => v2_peer::<4>(known).map(Some),
        (0x21, 0x21) => v2_peer::<16>(known).map(Some),
        _ => Err(ProxyError::Malformed),
    }
}

/// Source address, target address and source port, each address of `N` bytes.
fn v2_peer<const N: usize>(addresses: &[u8]) -> Result<Peer, ProxyError>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = addresses.split_first_chunk::<N>().ok_or(ProxyError::Malformed)?;
    let (_target, rest) = rest.split_first_chunk::<N>().ok_or(ProxyError::Malformed)?;
    let [high, low, _, _, ..] = *rest else { return Err(ProxyError::Malformed) };
    Ok(peer(IpAddr::from(*source), u16::from_be_bytes([high, low])))
}

async fn skip<S: AsyncRead + Unpin>(stream: &mut S, mut count: usize) -> Result<(), ProxyError> {
    let mut scratch = [0; 128];
    while count > 0 {
        let (part, _) = scratch.split_at_mut(count.min(128));
        stream.read_exact(part).await?;
        count -= part.len();
    }
    Ok(())
}

fn peer(address: IpAddr, port: u16) -> Peer {
    Peer::Ip(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> (Result<Option<Peer>, ProxyError>, usize) {
        let mut left = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(read(&mut left));
        (result, left.len())
    }

    fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([version_command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5B];

    fn ip(text: &str) -> Option<Peer> {
        Some(Peer::Ip(text.parse().unwrap()))
    }

    #[test]
    fn a_line_of_version_1_names_the_client_and_nothing_behind_it_is_read() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883\r\n", ip("192.0.2.7:12345")),
            ("PROXY TCP6 2001:db8::7 ::1 12345 1883\r\n", ip("[2001:db8::7]:12345")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", ip("192.0.2.7:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN what ever\r\n", None),
        ] {
            assert_eq!(read_all(format!("{line}MQTT").as_bytes()), (Ok(expected), 4), "{line}");
        }
    }

    #[test]
    fn a_bad_line_of_version_1_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n",
            "PROXY TCP4 2001:db8::7 ::1 12345 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 123456 1883\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY  UNKNOWN\r\n",
        ] {
            assert_eq!(read_all(line.as_bytes()).0, Err(ProxyError::Malformed), "{line}");
        }
        assert_eq!(read_all(b"PROXY TCP4 192.0.2.7 10.").0, Err(ProxyError::Truncated));
        assert_eq!(
            read_all(format!("PROXY UNKNOWN{}\r\n", "x".repeat(100)).as_bytes()).0,
            Err(ProxyError::TooLong)
        );
        assert_eq!(read_all(b"\x10\x0c\0\x04MQTT\x05\x02\0\0\0\0").0, Err(ProxyError::Missing));
    }

    #[test]
    fn a_header_of_version_2_names_the_client_and_its_extensions_are_skipped() {
        let mut with_tlv = V4.to_vec();
        with_tlv.extend([0xEE; 524]);
        let v6: Vec<u8> =
            [&[0x20, 1, 13, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0x30, 0x39, 0, 1]]
                .concat();
        for (header, expected) in [
            (v2(0x21, 0x11, &V4), ip("192.0.2.7:12345")),
            (v2(0x21, 0x11, &with_tlv), ip("192.0.2.7:12345")),
            (v2(0x21, 0x21, &v6), ip("[2001:db8::7]:12345")),
            (v2(0x21, 0x31, &[b'/'; 216]), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &V4), None),
            (v2(0x21, 0x00, &[1, 2, 3]), None),
        ] {
            let mut bytes = header.clone();
            bytes.extend(b"MQTT");
            assert_eq!(read_all(&bytes), (Ok(expected), 4), "{header:?}");
            for cut in 0..header.len() {
                assert_eq!(read_all(&header[..cut]).0, Err(ProxyError::Truncated), "{header:?} at {cut}");
            }
        }
    }

    #[test]
    fn a_bad_header_of_version_2_is_refused() {
        for header in
            [v2(0x11, 0x11, &V4), v2(0x22, 0x11, &V4), v2(0x21, 0x12, &V4), v2(0x21, 0x11, &V4[..11])]
        {
            assert_eq!(read_all(&header).0, Err(ProxyError::Malformed), "{header:?}");
        }
        assert_eq!(read_all(&v2(0x21, 0x11, &[0; V2_REST_MAX + 1])).0, Err(ProxyError::TooLong));
    }
}
