//! What asking over HTTP/1.1 and over HTTP/2 have alike.

use std::error::Error;
use std::io;
use std::pin::pin;

/// The answer to who asks over a connection, which is kept going beside.
pub(super) async fn answer_over<T>(connection: impl Future, asking: impl Future<Output = T>) -> T {
    let (mut connection, mut asking) = (pin!(connection), pin!(asking));
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut asking => return answer,
            // What went wrong is told to who asks, too.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

/// An error, and those that it goes back to.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Those of input and output among them, the outermost first.
pub(super) fn io_causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a io::Error> {
    causes(error).filter_map(|error| error.downcast_ref())
}

/// Whether it is the system's or that of TLS; the libraries have others of their own for what they cannot read.
pub(super) fn is_of_the_connection(error: &io::Error) -> bool {
    error.raw_os_error().is_some() || error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
