//! A Redis server of our own on loopback, which goes when it is no longer needed.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::Connection;

use super::RedisCheckError;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running server.
#[derive(Debug)]
pub(super) struct Server(Child);

impl Server {
    /// Starts it on a free port, without persistence, and connects.
    pub(super) fn start(program: &str) -> Result<(Self, Connection), RedisCheckError> {
        let no_server = |source| RedisCheckError::NoServer { program: program.to_owned(), source };
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).map_err(no_server)?.port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(no_server)?;
        let mut server = Self(child);
        let silent = |message: String| RedisCheckError::Silent { program: program.to_owned(), port, message };
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let begun = Instant::now();
        loop {
            let error = match client.get_connection() {
                Ok(connection) => return Ok((server, connection)),
                Err(error) => error,
            };
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(silent(format!("it ended with {status}")));
            }
            if begun.elapsed() > PATIENCE {
                return Err(silent(error.to_string()));
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, and nothing is to be done about a server that cannot be stopped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
