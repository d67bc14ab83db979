//! Helpers shared by several tests.

pub mod alone;
pub mod networks;
pub mod place;
#[cfg(feature = "serve")]
pub mod server;
#[cfg(unix)]
pub mod signals;
pub mod speech;
