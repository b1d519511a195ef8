//! The doors as others see them.

mod descriptors;
