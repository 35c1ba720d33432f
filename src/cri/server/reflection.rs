//! gRPC reflection, v1 and v1alpha: what is served on the socket, told to clients that do not know it beforehand. Always
//! there, since it tells nothing that is not published, and only to whom the socket is open. What it tells from is made when
//! the first of them asks: it takes longer than all else that a daemon starts with, and a kubelet never asks.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, v1, v1alpha};
use tower::Service;

/// Adds both versions, which tell of what these encoded descriptor sets hold, and of themselves.
pub(super) fn with(routes: Routes, descriptors: &[&'static [u8]]) -> Routes {
    let of = Arc::new(Reflection {
        descriptors: descriptors.to_vec(),
        made: OnceLock::new(),
    });
    routes
        .add_service(OnDemand::<v1::ServerReflectionServer<()>>::new(&of))
        .add_service(OnDemand::<v1alpha::ServerReflectionServer<()>>::new(&of))
}

/// Both versions, once somebody has asked.
struct Reflection {
    descriptors: Vec<&'static [u8]>,
    made: OnceLock<Routes>,
}

impl Reflection {
    fn routes(&self) -> Routes {
        let made = self.made.get_or_init(|| {
            let builder = || {
                let begun = Builder::configure();
                self.descriptors.iter().fold(begun, |builder, set| {
                    builder.register_encoded_file_descriptor_set(set)
                })
            };
            let readable = "the build has made the descriptors";
            Routes::new(builder().build_v1().expect(readable))
                .add_service(builder().build_v1alpha().expect(readable))
        });
        made.clone()
    }
}

/// What has the name of a service of reflection, and hands its calls on.
struct OnDemand<S> {
    of: Arc<Reflection>,
    named: PhantomData<fn(S)>,
}

impl<S> OnDemand<S> {
    fn new(of: &Arc<Reflection>) -> OnDemand<S> {
        OnDemand {
            of: Arc::clone(of),
            named: PhantomData,
        }
    }
}

impl<S> Clone for OnDemand<S> {
    fn clone(&self) -> OnDemand<S> {
        OnDemand::new(&self.of)
    }
}

impl<S: NamedService> NamedService for OnDemand<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for OnDemand<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Routes as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.of.routes().call(request)
    }
}
