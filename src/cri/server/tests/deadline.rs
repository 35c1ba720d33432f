//! A client that gives its calls little time, and waits for what the server says of it: those of gRPC's libraries look at
//! their own clock.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::UnixStream, task::JoinSet};

use super::{LONG, Running};

#[tokio::test]
async fn a_call_whose_time_is_up_has_exceeded_its_deadline() {
    let server = Running::start(LONG);
    let io = TokioIo::new(UnixStream::connect(&server.path).await.unwrap());
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);

    // The gate lets none of them through.
    let calls = (1..=100).map(|milliseconds| {
        let mut client = client.clone();
        async move {
            let call = Request::post("http://localhost/runtime.v1.RuntimeService/StartContainer")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-timeout", format!("{milliseconds}m"))
                .body(Full::new(Bytes::from_static(&[0; 5])))
                .unwrap();
            client.send_request(call).await.unwrap()
        }
    });

    for answer in futures_util::future::join_all(calls).await {
        let headers = answer.headers();
        assert_eq!(headers["grpc-status"], "4", "{headers:?}");
        assert!(
            headers["grpc-message"].to_str().unwrap().contains("ms"),
            "{headers:?}"
        );
    }
}
