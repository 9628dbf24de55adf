//! A server for names that takes its time: what it is asked it asks the one of the test's network, and answers later. It decides
//! nothing about what is right.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e_tests::{BOUND, pause};

use crate::lan::Lan;

/// Bytes of a question or an answer.
const BYTES_MAX: usize = 1_500;
/// How soon it notices that it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// It answers until it is dropped.
pub(crate) struct SlowNames {
    is_over: Arc<AtomicBool>,
    serves: Option<JoinHandle<()>>,
}

impl SlowNames {
    /// Whoever is in this network asks a server from now on whose answers take so long.
    pub(crate) fn new(lan: &Lan, delay: Duration) -> Self {
        let (address, knows) = (lan.second_address(), format!("{}.1:53", lan.subnet()));
        let socket = Arc::new(UdpSocket::bind((address.as_str(), 53)).unwrap());
        socket.set_read_timeout(Some(LOOK_EVERY)).unwrap();
        fs::write(lan.dir.join("resolv.conf"), format!("nameserver {address}\n")).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let serves = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let mut question = vec![0; BYTES_MAX];
                let Ok((bytes, from)) = socket.recv_from(&mut question) else { continue };
                question.truncate(bytes);
                let (socket, knows) = (Arc::clone(&socket), knows.clone());
                thread::spawn(move || {
                    pause(delay);
                    if let Some(answer) = ask(&knows, &question) {
                        // Whoever has gone does not hear it.
                        drop(socket.send_to(&answer, from));
                    }
                });
            }
        });
        Self { is_over, serves: Some(serves) }
    }
}

/// What the other server answers; nothing where it does not.
fn ask(server: &str, question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.set_read_timeout(Some(BOUND)).ok()?;
    socket.send_to(question, server).ok()?;
    let mut answer = vec![0; BYTES_MAX];
    let bytes = socket.recv(&mut answer).ok()?;
    answer.truncate(bytes);
    Some(answer)
}

impl Drop for SlowNames {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.serves.take().map(JoinHandle::join));
    }
}
