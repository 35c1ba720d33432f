//! A connection against a client that writes its frames by hand.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

use super::connection::{Connection, Options};
use super::headers::DICTIONARY;

/// The other side.
struct Client {
    io: DuplexStream,
    compress: Compress,
    input: BytesMut,
}

/// A frame as the client sees it: the first four bytes, flags, payload.
#[derive(Debug, PartialEq, Eq)]
struct Frame(u32, u8, Bytes);

const REPLY: u32 = 0x8003_0002;
const RESET: u32 = 0x8003_0003;
const PING: u32 = 0x8003_0006;
const GOAWAY: u32 = 0x8003_0007;

impl Client {
    async fn send(&mut self, first: u32, flags: u8, payload: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_u32(first);
        frame.put_u8(flags);
        frame.put_uint(payload.len() as u64, 3);
        frame.put_slice(payload);
        self.io.write_all(&frame).await.unwrap();
    }

    async fn open(&mut self, id: u32) {
        let mut plain = BytesMut::new();
        plain.put_u32(1);
        for text in ["streamtype", "data"] {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(256);
        self.compress
            .compress_vec(&plain, &mut block, FlushCompress::Sync)
            .unwrap();
        let head = [&id.to_be_bytes()[..], &[0; 6]].concat();
        self.send(0x8003_0001, 0, &[head, block].concat()).await;
    }

    /// The next frame; `None`: the connection has ended.
    async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.input.first_chunk::<8>() {
                let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
                if self.input.len() >= 8 + length {
                    let (first, flags) = (self.input.get_u32(), self.input.get_u8());
                    self.input.advance(3);
                    return Some(Frame(first, flags, self.input.split_to(length).freeze()));
                }
            }
            if self.io.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }
}

fn connect(patience: Option<Duration>) -> (Client, Connection, JoinSet<()>) {
    let (ours, io) = tokio::io::duplex(64 << 10);
    let options = Options {
        idle: Duration::from_secs(3600),
        patience,
        socket: None,
    };
    let (connection, work) = Connection::new(ours, Bytes::new(), options);
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let mut compress = Compress::new(Compression::fast(), true);
    compress.set_dictionary(&DICTIONARY).unwrap();
    let client = Client {
        io,
        compress,
        input: BytesMut::new(),
    };
    (client, connection, tasks)
}

fn id(payload: &Bytes) -> u32 {
    (&payload[..]).get_u32()
}

#[tokio::test]
async fn a_stream_carries_data_both_ways_and_each_way_ends_alone() {
    let (mut client, mut connection, _tasks) = connect(None);

    client.open(1).await;
    let mut stream = connection.accept().await.unwrap();
    stream.accept().await;
    client.send(1, 1, b"question").await;
    let mut question = String::new();
    stream.reader.read_to_string(&mut question).await.unwrap();
    stream.writer.write_all(b"answer").await.unwrap();
    stream.writer.shutdown().await.unwrap();

    assert_eq!(stream.headers.get("streamtype"), Some("data"));
    assert_eq!(question, "question");
    let reply = client.receive().await.unwrap();
    assert_eq!((reply.0, id(&reply.2)), (REPLY, 1));
    assert_eq!(
        client.receive().await,
        Some(Frame(1, 0, Bytes::from_static(b"answer")))
    );
    assert_eq!(client.receive().await, Some(Frame(1, 1, Bytes::new())));
}

#[tokio::test]
async fn the_end_comes_behind_all_data_and_leaves_the_client_time_to_read() {
    let (mut client, mut connection, mut tasks) = connect(None);
    client.open(1).await;
    let mut stream = connection.accept().await.unwrap();
    stream.accept().await;

    let sending = async {
        stream.writer.write_all(&[7; 300_000]).await.unwrap();
        stream.writer.shutdown().await.unwrap();
        connection.close().await;
    };
    let receiving = async {
        let (mut received, mut last) = (0, Frame(0, 0, Bytes::new()));
        while let Some(frame) = client.receive().await {
            received += if frame.0 == 1 { frame.2.len() } else { 0 };
            // What is still sent is read and dropped.
            let _ = client.io.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0]).await;
            last = frame;
        }
        (received, last.0)
    };
    let ((), told) = tokio::join!(sending, receiving);
    drop(client);
    tasks.join_next().await;

    assert_eq!(told, (300_000, GOAWAY));
}

#[tokio::test]
async fn pings_are_answered_while_data_waits() {
    let (mut client, mut connection, mut tasks) = connect(None);
    client.open(1).await;
    let mut stream = connection.accept().await.unwrap();
    stream.accept().await;
    tasks.spawn(async move { while stream.writer.write_all(&[1; 4096]).await.is_ok() {} });

    client.send(PING, 0, &9u32.to_be_bytes()).await;

    while let Some(frame) = client.receive().await {
        if frame.0 == PING {
            return assert_eq!(id(&frame.2), 9);
        }
    }
    panic!("no answer");
}

#[tokio::test]
async fn a_reset_ends_both_ways_of_its_stream_and_nothing_else() {
    let (mut client, mut connection, _tasks) = connect(None);
    client.open(1).await;
    client.open(3).await;
    let (mut cut, mut other) = (
        connection.accept().await.unwrap(),
        connection.accept().await.unwrap(),
    );

    client.send(RESET, 0, &[0, 0, 0, 1, 0, 0, 0, 5]).await;
    client.send(1, 0, b"late").await;
    client.send(3, 1, b"fine").await;

    let mut text = String::new();
    cut.reader.read_to_string(&mut text).await.unwrap();
    other.reader.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "fine");
    cut.writer.write_all(b"x").await.unwrap_err();
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_the_client_up_until_it_is_dropped() {
    let (mut client, mut connection, mut tasks) = connect(None);
    client.open(1).await;
    let stream = connection.accept().await.unwrap();

    let (sent, mut done) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        for _ in 0..64 {
            client.send(1, 0, &[0; 32 << 10]).await;
        }
        let _ = sent.send(client);
    });
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }

    assert!(done.try_recv().is_err(), "two mebibytes are kept somewhere");
    drop(stream);
    done.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_others_wait_a_stream_that_nobody_reads_is_cut_off() {
    let (mut client, mut connection, mut tasks) = connect(Some(Duration::from_secs(60)));
    client.open(1).await;
    let stuck = connection.accept().await.unwrap();
    client.open(3).await;
    let mut other = connection.accept().await.unwrap();

    tasks.spawn(async move {
        for _ in 0..64 {
            client.send(1, 0, &[0; 32 << 10]).await;
        }
        client.send(3, 1, b"through").await;
        while client.receive().await.is_some() {}
    });
    let mut text = String::new();
    other.reader.read_to_string(&mut text).await.unwrap();

    assert_eq!(text, "through");
    drop(stuck);
}

#[tokio::test]
async fn streams_with_numbers_that_a_client_must_not_use_are_refused() {
    let (mut client, mut connection, mut tasks) = connect(None);
    tasks.spawn(async move { while connection.accept().await.is_some() {} });

    client.open(5).await;
    for number in [2, 3, 5, 0x8000_0001] {
        client.open(number).await;
        let frame = client.receive().await.unwrap();
        assert_eq!((frame.0, id(&frame.2), frame.2[7]), (RESET, number, 1));
    }
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_hears_so_and_is_gone() {
    let (mut client, connection, _tasks) = connect(None);
    let gone = connection.gone();

    client
        .send(0x8003_0001, 0, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff])
        .await;

    let frame = client.receive().await.unwrap();
    assert_eq!((frame.0, frame.2[7]), (GOAWAY, 1));
    gone.cancelled().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_gone() {
    let (client, mut connection, mut tasks) = connect(None);

    drop(client);

    assert!(connection.accept().await.is_none());
    connection.close().await;
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_a_ping_is_no_silence() {
    let (mut client, connection, _tasks) = connect(None);
    let gone = connection.gone();

    tokio::time::sleep(Duration::from_secs(3000)).await;
    client.send(PING, 0, &1u32.to_be_bytes()).await;
    client.receive().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert!(!gone.is_cancelled());
    tokio::time::sleep(Duration::from_secs(700)).await;

    assert!(gone.is_cancelled());
}
