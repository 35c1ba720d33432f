//! A client whose requests name the path of the socket, byte by byte: no client library of Rust's sends that.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{LONG, Running};
use crate::cri::server::authority::HEADERS;
use crate::cri::server::authority::tests::{frame, sent};

const RST_STREAM: u8 = 3;

/// A call with these header fields and an empty message.
fn call(stream: u8, fields: &[u8]) -> Vec<u8> {
    [frame(HEADERS, 4, stream, fields), frame(0, 1, stream, &[0; 5])].concat()
}

/// How the server begins its answer on a stream.
async fn answer(connection: &mut UnixStream, stream: u8) -> u8 {
    loop {
        let mut header = [0; 9];
        connection.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        connection.read_exact(&mut payload).await.unwrap();
        if matches!(header[3], HEADERS | RST_STREAM) && header[8] == stream {
            return header[3];
        }
    }
}

#[tokio::test]
async fn an_authority_that_is_a_path_is_answered() {
    let server = Running::start(LONG);
    let path = b"/runtime.v1.RuntimeService/Version";
    let first = [
        &b"\x83\x86\x41\x1b%2Frun%2Fcoracle%2Fcri.sock\x44\x22"[..],
        path,
        b"\x5f\x10application/grpc\x40\x02te\x08trailers",
    ]
    .concat();
    // The same by the dynamic table: the oldest of four entries is the authority.
    let second = b"\x83\x86\xc1\xc0\xbf\xbe";
    let mut connection = UnixStream::connect(&server.path).await.unwrap();

    connection.write_all(&sent(&[call(1, &first)])).await.unwrap();
    let one = answer(&mut connection, 1).await;
    connection.write_all(&call(3, second)).await.unwrap();
    let other = answer(&mut connection, 3).await;

    assert_eq!([one, other], [HEADERS, HEADERS]);
}
