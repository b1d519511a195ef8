//! A TAP device: the end of a cable. What a machine sends is read here, what is written here it receives.
//!
//! The device lives as long as this value, wherever its interface was moved to: after a kill nothing of it is left.
//!
//! Not here: addresses and namespaces (`network.rs`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tappers::Interface;
use tappers::linux::Tap as Device;

/// The end of a cable.
pub struct Tap(Device);

impl Tap {
    /// A new device of this name, in the namespace of this thread.
    pub fn create(name: &str) -> io::Result<Self> {
        let device = Device::create_named(Interface::new(name)?)?;
        device.set_nonblocking(true)?;
        Ok(Self(device))
    }

    /// The next frame, into `buffer`; nothing if there is none now.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.0, buffer) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }

    /// A frame arrives. One that the machine does not take is its loss: a device that is down takes nothing.
    pub fn deliver(&self, frame: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.0, frame).map(|_bytes| ()).map_err(Into::into)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
