//! Sockets that listen: TCP, and Unix sockets, whose file decides who may connect.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::stream::{OF_THIS_MACHINE, Stream};

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Who may speak to a Unix socket: its owner and its group.
const MODE: u32 = 0o660;

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: OwnFile },
}

impl Listener {
    /// Listens on an address, one of `all` of this server; with the port that it got.
    pub(super) fn tcp(address: SocketAddr, all: &[SocketAddr]) -> io::Result<(Self, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // An IPv6 wildcard that took IPv4 along would leave nothing for the other listener.
            socket.set_only_v6(all.iter().any(|other| other.is_ipv4() && other.port() == address.port()))?;
        }
        // A restart must not wait for connections of the process before.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        Ok((Self::Tcp(listener), local))
    }

    /// Listens on a Unix socket at `path`, in the place of one that a process left behind.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        make_sure_that_nobody_listens(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Under a name of its own until it has its mode and listens, so that no client meets it before.
        let unseen = path.with_file_name(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&unseen);
        socket.bind(&SockAddr::unix(&unseen)?)?;
        let file = OwnFile::at(&unseen)?;
        fs::set_permissions(&unseen, fs::Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        fs::rename(&unseen, path)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self::Unix { listener, _file: file.moved(path) })
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                Ok((Stream::Tcp(stream), client.ip()))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), OF_THIS_MACHINE))
            }
        }
    }
}

/// A socket of a living process is its own, and what is no socket is somebody's file.
fn make_sure_that_nobody_listens(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of this name that is no socket",
        ));
    }
    let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One that listens and has no room answers that it would block.
    client.set_nonblocking(true)?;
    match client.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket"))
        }
    }
}

/// The file of a socket, removed with it, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    id: (u64, u64),
}

impl OwnFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id(path)? })
    }

    fn moved(mut self, path: &Path) -> Self {
        self.path = path.to_owned();
        self
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> String {
        Listener::unix(path).map(|_| ()).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_and_its_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = Listener::unix(&path).unwrap();
        let file = fs::symlink_metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.mode() & 0o7777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the socket");
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(refused(&path), "another process listens on this socket");
        assert!(path.exists());
        // Somebody else's by now.
        fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_eq!(refused(&path), "there is a file of this name that is no socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    /// Full of those who wait, it is alive all the same.
    #[tokio::test]
    async fn a_socket_with_no_room_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        busy.listen(0).unwrap();
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.connect(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(refused(&path), "another process listens on this socket");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refused(&folder.path().join("none/api.sock")).starts_with("No such file or directory"));
    }
}
