//! Hears signals on a bus, in a task that ends with its handle.

use std::num::NonZeroUsize;

use tokio::task::JoinHandle;
use zbus::match_rule::Builder;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream};

/// How many signals may wait for us. A manager that stops tells of all its units at once, some signals for each.
const SIGNALS_MAX: Option<NonZeroUsize> = NonZeroUsize::new(1024);

/// A task that hears signals; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "nothing is heard any more when this is dropped"]
pub struct Listening(JoinHandle<()>);

impl Listening {
    /// Starts the task.
    pub fn spawn(hear: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(hear))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hears the signals of a sender from now on, whether or not it is there yet; `narrow` says which of them.
///
/// While more wait than may, nothing else is read from the connection either, so whoever listens has one of its own.
pub async fn listen(
    bus: &Connection,
    sender: &str,
    narrow: impl for<'m> FnOnce(Builder<'m>) -> Builder<'m>,
) -> zbus::Result<MessageStream> {
    // The bus compares the sender, so that nobody else can tell us stories.
    let rule = narrow(MatchRule::builder().msg_type(Type::Signal).sender(sender)).build()?.to_owned();
    MessageStream::for_match_rule(rule, bus, SIGNALS_MAX).await
}

#[cfg(test)]
pub(crate) mod mock {
    //! The other end of a bus.

    use zbus::connection::Builder;
    use zbus::object_server::Interface;
    use zbus::{Connection, Guid};

    /// Returns a connection that serves an object, and one that leads there.
    pub(crate) async fn serving(path: &str, object: impl Interface) -> (Connection, Connection) {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let [ours, theirs] = [ours, theirs].map(|stream| stream.into_std().unwrap());
        let server = Builder::unix_stream(theirs).server(Guid::generate()).p2p();
        let server = server.serve_at(path, object).build();
        let (server, client) = tokio::join!(server, Builder::unix_stream(ours).p2p().build());
        (server.unwrap(), client.unwrap())
    }
}
