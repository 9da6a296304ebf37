//! Bound sockets of a launch: held by the guardian, and found by the service as sd_listen_fds(3) says.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use runner::guardian::orders::{Order, Stage};
use runner::reconcile::ExitStatus;
use runner::spec::Protocol;
use runner::sys::sockets::BoundTo;

use crate::nest::{Nest, shown};

/// So many of them, whatever the kernel allows.
pub fn are_handed_over(nest: &mut Nest, count: usize) {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|one| one.local_addr().unwrap().port()).collect();
    for listener in &listeners {
        nest.order(&Order::HoldSocket, &[listener.as_fd()]);
    }
    // From here on the guardian holds them alone.
    drop(listeners);
    let sockets: Vec<BoundTo> = ports
        .iter()
        .map(|&number| BoundTo {
            number,
            protocol: Protocol::Tcp,
        })
        .collect();
    let orders = ["answer", &count.to_string()];
    for _ in 0..2 {
        let mut launch = nest.fixture(&orders);
        launch.env.push(format!("LISTEN_FDS={count}").into_bytes());
        launch.env.push(b"LISTEN_FDNAMES=names".to_vec());
        launch.sockets.clone_from(&sockets);
        let mut run = nest.start_launch(launch);
        assert_eq!(run.output.line(), "answering at names");
        for port in &ports {
            let mut text = String::new();
            let mut stream = TcpStream::connect(("127.0.0.1", *port)).unwrap();
            std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
            assert_eq!(text, run.identity.pid.to_string());
        }
        nest.signal(run.ticket, libc::SIGTERM);
        assert_eq!(nest.exit(run.ticket), (ExitStatus::Code(0), false));
        nest.release(run.ticket);
    }
    for to in &sockets {
        nest.order(&Order::CloseSocket(*to), &[]);
    }
    let mut launch = nest.fixture(&orders);
    launch.sockets = sockets;
    assert_eq!(nest.refused(launch), (Stage::Stdio, libc::EBADF, 3), "they are closed");
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn who_has_no_sockets_hears_of_none() {
    let mut nest = Nest::new();
    let (_, text) = nest.run(&["show", "env"]);
    assert!(!text.contains("LISTEN_"), "{text}");
    assert_eq!(shown(&nest.run(&["show", "descriptors"]).1, "descriptors"), "0 1 2");
}
