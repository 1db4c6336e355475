//! The least that a TCP check can do: one thread, one epoll; a socket, a connect, a look whether it succeeded, and the end.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

/// Longer than any of these targets takes.
const DEADLINE: Duration = Duration::from_secs(10);

/// The address of one of the targets: all listen on the same port, each on a loopback address of its own, so that no pair of
/// addresses runs out of source ports.
pub fn target(number: usize, port: u16) -> SocketAddr {
    let [.., third, fourth] = u32::try_from(number + 1).unwrap().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 1, third, fourth), port))
}

/// Checks the targets in turn until so many checks are made, so many at one time.
pub fn run(targets: usize, port: u16, checks: usize, together: usize) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut slots: Vec<Option<Socket>> = (0..together).map(|_| None).collect();
    let mut free: Vec<usize> = (0..together).collect();
    let mut events = Vec::with_capacity(together);
    let (mut started, mut ended) = (0, 0);
    let deadline = Timespec::try_from(DEADLINE).unwrap();
    while ended < checks {
        while started < checks
            && let Some(slot) = free.pop()
        {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None).unwrap();
            // In progress, as ever without waiting.
            let _ = socket.connect(&target(started % targets, port).into());
            epoll::add(&epoll, &socket, epoll::EventData::new_u64(slot as u64), epoll::EventFlags::OUT)
                .unwrap();
            slots[slot] = Some(socket);
            started += 1;
        }
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&deadline)).unwrap();
        assert!(!events.is_empty(), "a target does not answer");
        for event in events.drain(..) {
            let slot = usize::try_from(event.data.u64()).unwrap();
            let socket = slots[slot].take().unwrap();
            assert!(socket.take_error().unwrap().is_none(), "a target refuses");
            free.push(slot);
            ended += 1;
        }
    }
}
