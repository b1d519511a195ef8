//! Panics of the code that is simulated: a runtime swallows those of its tasks, so they are written down as they happen.
//!
//! Only panics of threads that run a simulation count here; others go where they always went.

use std::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// While it lives, panics of this thread are written down.
pub(crate) struct Watched;

/// From now on panics of this thread are written down.
pub(crate) fn watch() -> Watched {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !WATCHED.get() {
                return before(panic);
            }
            let text = panic.to_string();
            SAID.with_borrow_mut(|said| {
                said.get_or_insert(text);
            });
        }));
    });
    SAID.with_borrow_mut(Option::take);
    WATCHED.set(true);
    Watched
}

/// The first panic since this was asked last.
pub(crate) fn taken() -> Option<String> {
    SAID.with_borrow_mut(Option::take)
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCHED.set(false);
        // the simulation itself panicked: that is nobody's finding
        if let Some(said) = taken().filter(|_| std::thread::panicking()) {
            eprintln!("{said}");
        }
    }
}
