//! What somebody who must not end does after a panic, whether the program unwinds or not (`panic = "abort"`, as in an image).

/// Who goes on after a panic.
///
/// Has a field of [`std::marker::PhantomPinned`]: by that the compiler knows that somebody else may look at it through a pointer.
pub trait Rescue {
    /// Goes on with what the panic has left; `panic` says what it was.
    fn rescue(&mut self, panic: &str);
}

/// Runs `work` on `state`, and rescues `state` if that panics. `None`: it did, and the rescue came back; a program that
/// can't unwind aborts then.
#[cfg(not(panic = "abort"))]
pub fn attempt<T: Rescue, R>(state: &mut T, work: fn(&mut T) -> R) -> Option<R> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(state)));
    let told = |payload: Box<dyn std::any::Any + Send>| {
        let text = payload.downcast_ref::<&str>().copied();
        state.rescue(
            text.or(payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("?"),
        );
    };
    outcome.map_err(told).ok()
}

#[cfg(panic = "abort")]
pub use in_the_hook::attempt;

/// Nothing is left of the stack after the last moment in which something can be done: the panic hook, on top of it.
#[cfg(panic = "abort")]
#[allow(unsafe_code)]
mod in_the_hook {
    use std::cell::Cell;
    use std::panic::{set_hook, take_hook};
    use std::sync::Once;

    use super::Rescue;

    #[derive(Clone, Copy)]
    struct Attempt {
        state: *mut (),
        rescue: unsafe fn(*mut (), &str),
    }

    thread_local! {
        static UNDER_WAY: Cell<Option<Attempt>> = const { Cell::new(None) };
    }

    /// As above.
    pub fn attempt<T: Rescue, R>(state: &mut T, work: fn(&mut T) -> R) -> Option<R> {
        static HOOK: Once = Once::new();
        HOOK.call_once(install);
        let state: *mut T = state;
        UNDER_WAY.set(Some(Attempt {
            state: state.cast(),
            rescue: rescue::<T>,
        }));
        // SAFETY: it is borrowed for the length of this call, and used through this pointer alone.
        let outcome = work(unsafe { &mut *state });
        UNDER_WAY.set(None);
        Some(outcome)
    }

    fn install() {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            usual(panic);
            // A panic in here aborts by itself.
            if let Some(attempt) = UNDER_WAY.take() {
                // SAFETY: it is under way in this thread, so the state is there; of that type, as both were set together.
                unsafe { (attempt.rescue)(attempt.state, &panic.to_string()) };
            }
        }));
    }

    /// # Safety
    /// `state` is the `T` of an attempt that is under way and will never go on.
    unsafe fn rescue<T: Rescue>(state: *mut (), panic: &str) {
        // SAFETY: of those who have borrowed it below us on the stack, none is ever come back to: the process aborts when the
        // hook is through. Nothing of theirs is held back in registers over the call that panics, as `T` is not `Unpin`
        // (its references are not taken for the only ones), and what they lend of it goes to functions that don't panic halfway.
        unsafe { &mut *state.cast::<T>() }.rescue(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomPinned;

    use super::*;

    struct Counter(u32, String, PhantomPinned);

    impl Rescue for Counter {
        fn rescue(&mut self, panic: &str) {
            self.1.push_str(panic);
        }
    }

    #[test]
    fn what_was_done_before_a_panic_is_there_after_it() {
        let mut counter = Counter(0, String::new(), PhantomPinned);
        let outcome = attempt(&mut counter, |counter| {
            counter.0 += 1;
            assert!(counter.0 > 1, "too few");
            counter.0
        });
        assert_eq!((outcome, counter.0, counter.1.as_str()), (None, 1, "too few"));
        assert_eq!(attempt(&mut counter, |counter| counter.0), Some(1));
    }
}
