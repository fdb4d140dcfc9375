//! The floor of the network: a WebSocket on loopback that sends back what it gets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// A server that sends back every message.
pub struct Echo<'r> {
    runtime: &'r Runtime,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// A connection to it.
pub struct EchoLink<'r> {
    runtime: &'r Runtime,
    socket: WebSocketStream<TcpStream>,
}

impl<'r> Echo<'r> {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(runtime: &'r Runtime) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let serving = runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self { runtime, address, serving })
    }

    /// Connects: TCP and WebSocket handshakes.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn connect(&self) -> Result<EchoLink<'r>> {
        let socket = self.runtime.block_on(connect(self.address))?;
        Ok(EchoLink { runtime: self.runtime, socket })
    }
}

impl Drop for Echo<'_> {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl EchoLink<'_> {
    /// How long one message there and one back take.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn round_trip(&mut self, bytes: usize) -> Result<Duration> {
        let begin = Instant::now();
        self.runtime.block_on(async {
            self.socket.send(Message::binary(vec![7; bytes])).await?;
            let answer = self.socket.next().await.context("the connection ended")??;
            ensure!(answer.len() == bytes, "the answer is another one");
            Ok(())
        })?;
        Ok(begin.elapsed())
    }
}

async fn connect(address: SocketAddr) -> Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (socket, _) = client_async(format!("ws://{address}/"), stream).await?;
    Ok(socket)
}

/// Until the peer ends the connection, or breaks it.
async fn serve(stream: TcpStream) {
    let Ok(()) = stream.set_nodelay(true) else { return };
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_binary() || socket.send(message).await.is_err() {
            return;
        }
    }
}
