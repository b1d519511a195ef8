//! Crash images as a test: a few thousand, the same from the same seed, and every order of syncs with a lie that is caught.

mod clusters;
mod images;
mod orders;
