//! Binds the sockets of one listener: both loopback addresses, dual stack, one address, or a path.
//! Called once at start by `listener` and `http`; accepts nothing itself.

use crate::config::{ConfigError, ListenAddress, ListenerSettings, Protocol};
use socket2::{Domain, Protocol as Layer, Socket as RawSocket, Type};
use std::{
    fmt, fs, io,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Connections that the kernel holds for us while accepting pauses.
const BACKLOG: i32 = 4096;
/// Tries to find a port that is free on both loopback addresses, where any port will do.
const PORT_TRIES: usize = 16;
/// Owner and group may connect to a unix socket, others may not.
const UNIX_MODE: u32 = 0o660;

/// A socket that accepts; it does not block.
#[derive(Debug)]
pub(super) enum Socket {
    /// IPv4, IPv6 or both.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

/// A listener that cannot be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The address makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refuses.
    #[error(
        "cannot listen on {address} for {name:?}: {source}; choose another address, or stop what uses this one"
    )]
    System {
        /// Which listener.
        name: String,
        /// Which address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => match socket.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("unknown"),
            },
            Self::Unix(_, file) => file.0.display().fmt(f),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The file may be gone already, which is as well.
        let _ = fs::remove_file(&self.0);
    }
}

/// The sockets of a listener.
pub(super) fn bind(settings: &ListenerSettings) -> Result<Vec<Socket>, BindError> {
    let address = settings.listen_address()?;
    if settings.protocol == Protocol::Unix {
        let ListenAddress::Path(path) = address else { return Ok(Vec::new()) };
        let socket = bind_unix(&path).map_err(|source| BindError::System {
            name: settings.name.clone(),
            address: path.display().to_string(),
            source,
        })?;
        return Ok(vec![Socket::Unix(socket, SocketFile(path))]);
    }
    Ok(bind_tcp(&settings.name, &address)?.into_iter().map(Socket::Tcp).collect())
}

/// The TCP sockets for `address`, in its order: both loopback addresses with the same port, or one dual-stack socket.
/// Where the machine has no IPv6 they are IPv4 alone.
///
/// # Errors
/// With `name` and the address that could not be bound.
pub(crate) fn bind_tcp(name: &str, address: &ListenAddress) -> Result<Vec<TcpListener>, BindError> {
    let bound = match address {
        ListenAddress::Localhost(port) => bind_localhost(*port),
        ListenAddress::Any(port) => bind_any(*port).map(|socket| vec![socket]),
        ListenAddress::Ip(address) => {
            bind_one(*address).map(|socket| vec![socket]).map_err(|e| (*address, e))
        }
        ListenAddress::Path(_) => Ok(Vec::new()),
    };
    bound.map_err(|(address, source)| BindError::System {
        name: name.to_owned(),
        address: address.to_string(),
        source,
    })
}

type Refused = (SocketAddr, io::Error);

fn bind_localhost(port: u16) -> Result<Vec<TcpListener>, Refused> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let v4 = SocketAddr::from(([127, 0, 0, 1], port));
        let first = bind_one(v4).map_err(|e| (v4, e))?;
        let chosen = first.local_addr().map_err(|e| (v4, e))?.port();
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, chosen));
        match bind_one(v6) {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if lacks_family(&error) => return Ok(vec![first]),
            Err(error) if tries == 0 => return Err((v6, error)),
            Err(_) => {}
        }
    }
}

fn bind_any(port: u16) -> Result<TcpListener, Refused> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match bind_one(v6) {
        Err(error) if lacks_family(&error) => {
            let v4 = SocketAddr::from(([0, 0, 0, 0], port));
            bind_one(v4).map_err(|e| (v4, e))
        }
        bound => bound.map_err(|e| (v6, e)),
    }
}

/// Whether the machine has no IPv6, or no such address.
fn lacks_family(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, Unsupported};
    // EAFNOSUPPORT and EPROTONOSUPPORT have no stable kind in std.
    const NO_FAMILY: [i32; 4] = [97, 93, 47, 43];
    matches!(error.kind(), AddrNotAvailable | Unsupported)
        || error.raw_os_error().is_some_and(|code| NO_FAMILY.contains(&code))
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Layer::TCP))?;
    if address.is_ipv6() {
        // Only the unspecified address means both families.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes the file of a socket that nobody listens on any more; any other file is left, and `bind` refuses then.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    let refused = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).as_ref().is_err_and(refused) {
        fs::remove_file(path)?;
    }
    Ok(())
}
