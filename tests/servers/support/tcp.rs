//! TCP peers that behave, vanish, swallow, hang and answer nonsense.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::ports::{free_port, listen};

/// Connects that fill a backlog of none; the kernel lets one or two more in than asked.
const FILLERS: usize = 4;

/// A port that accepts, and can be closed and opened again.
pub struct Accepting {
    /// Where.
    pub address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl Accepting {
    /// Opens one on a free port.
    pub fn open() -> Self {
        let mut this = Self { address: loopback(free_port()), task: None };
        this.reopen();
        this
    }

    /// Closes the port; connects are refused from now on.
    pub async fn close(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The listener is dropped only when the task is.
            let _ = task.await;
        }
    }

    /// Opens the same port again.
    pub fn reopen(&mut self) {
        let listener = listen(self.address);
        self.task = Some(tokio::spawn(async move {
            loop {
                // What connects is dropped at once: a check needs no more.
                let _ = listener.accept().await;
            }
        }));
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

/// A port whose backlog is full: the kernel drops each SYN, as a firewall would.
pub struct BlackHole {
    /// Where.
    pub address: SocketAddr,
    _listener: Socket,
    _fillers: Vec<Socket>,
}

impl BlackHole {
    /// Opens one, and makes sure that it swallows.
    pub fn open() -> Self {
        Self::at(loopback(free_port()))
    }

    /// Opens one at an address of one's choice.
    pub fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let fillers = (0..FILLERS).map(|_| filler(address)).collect();
        let probe = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert!(probe.is_err_and(|e| e.kind() == std::io::ErrorKind::TimedOut), "the backlog is not full");
        Self { address, _listener: listener, _fillers: fillers }
    }
}

fn filler(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    // It is in progress or swallowed, and either fills.
    let _ = socket.connect(&address.into());
    socket
}

/// An HTTP server that gives every request the same answer, or takes it and says nothing.
pub struct FakeHttp {
    /// Where.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl FakeHttp {
    /// Answers with a status line's rest, such as `401 Unauthorized`, a content type and a body.
    pub fn answering(status: &str, content_type: &str, body: &str) -> Self {
        Self::start(vec![(String::new(), message(status, content_type, body))])
    }

    /// Answers 200 with the JSON of the first path that begins so, and hangs where none does.
    pub fn json_by_path(answers: &[(&str, &str)]) -> Self {
        let answer = |(path, body): &(&str, &str)| {
            (format!("GET {path}"), message("200 OK", "application/json", body))
        };
        Self::start(answers.iter().map(answer).collect())
    }

    /// Accepts, reads, and never answers.
    pub fn hung() -> Self {
        Self::start(Vec::new())
    }

    /// `answers`: how a request begins, and what it gets.
    fn start(answers: Vec<(String, String)>) -> Self {
        let answers: Arc<[(String, String)]> = answers.into();
        let address = loopback(free_port());
        let listener = listen(address);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers)));
            }
        });
        Self { address, task }
    }
}

impl Drop for FakeHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port whose server greets whoever comes, as mail servers do, and leaves.
pub struct Greeting {
    /// Where.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Greeting {
    /// Opens one.
    pub fn open() -> Self {
        let address = loopback(free_port());
        let listener = listen(address);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.write_all(b"220 mail.example.org ready\r\n").await;
                    let _ = stream.shutdown().await;
                    // Read to its end, so that the connection is not reset.
                    let mut rest = [0; 1024];
                    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: tokio::net::TcpStream, answers: Arc<[(String, String)]>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        request.extend_from_slice(&chunk[..read]);
        let complete = request.windows(4).any(|window| window == b"\r\n\r\n");
        let fitting = answers.iter().find(|(begin, _)| request.starts_with(begin.as_bytes()));
        if let (true, Some((_, answer))) = (complete, fitting) {
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
    }
}

/// A whole answer, after which the connection ends.
fn message(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
