//! `select!`: waits for the first of several futures, and whose turn is first
//! is a choice.

use super::current::try_enter;

/// Where one `select!` begins to look, each time it is polled.
#[doc(hidden)]
#[derive(Debug)]
pub struct Turns {
    biased: bool,
    /// Which of the task's `select!`s it is; known once it is polled.
    select: Option<u32>,
    polls: u64,
}

impl Turns {
    pub const fn chosen() -> Self {
        Self { biased: false, select: None, polls: 0 }
    }

    pub const fn biased() -> Self {
        Self { biased: true, select: None, polls: 0 }
    }

    /// Chooses a branch to begin with; outside a run, the first.
    #[inline]
    pub fn next(&mut self, branches: usize) -> usize {
        if self.biased || branches == 1 {
            return 0;
        }
        let turn = try_enter(|world| {
            let select = *self.select.get_or_insert_with(|| world.begin_select());
            self.polls += 1;
            world.turn_of_select(select, self.polls - 1, branches as u64)
        });
        turn.unwrap_or(0) as usize
    }
}

/// Waits until one of several branches is ready, drops the others, and runs its
/// handler. The syntax is tokio's.
///
/// ```
/// use std::time::Duration;
/// virtnet::Run::new(3).execute(async |sim| {
///     let answer = virtnet::select! {
///         n = async { 42 } => n,
///         () = sim.sleep(Duration::from_secs(1)), if true => unreachable!(),
///     };
///     assert_eq!(answer, 42);
/// }).unwrap();
/// ```
///
/// A branch is `pattern = future => handler`, with `, if condition` before the
/// arrow if wanted; what `IntoFuture` makes a future of will do. A branch whose
/// condition is false is not polled, and one whose output does not match its
/// pattern is out; when all are out, the `else => handler` runs, and without one
/// `select!` panics. Up to sixteen branches.
///
/// Each time it is polled, the branches are looked at in turn from one that is
/// *chosen*: 0 is the first as written, as with `biased;`, which never chooses.
/// Outside a run it begins with the first.
///
/// # Cancel safety
///
/// All branches but one are dropped: they should lose nothing by that.
#[macro_export]
macro_rules! select {
    (biased; $($branches:tt)+) => {
        $crate::__select!(@parse biased [] $($branches)+)
    };
    ($($branches:tt)+) => {
        $crate::__select!(@parse chosen [] $($branches)+)
    };
}

/// The works of `select!`. Branches are first gathered as `(pattern, future,
/// condition, handler)`, then each is given a number and three names.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // No branch at all is legal where there is an `else`, as in tokio.
    (@parse $start:tt [] else => $other:expr $(,)?) => {
        $other
    };
    // All branches read, with or without an `else`.
    (@parse $start:tt [$($branch:tt)*]) => {
        $crate::__select!(@name $start [$($branch)*] {
            panic!("virtnet: all branches of `select!` are disabled and there is no `else`")
        })
    };
    (@parse $start:tt [$($branch:tt)*] else => $other:expr $(,)?) => {
        $crate::__select!(@name $start [$($branch)*] { $other })
    };
    // A branch: with a condition or without, its handler a block or an expression.
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr, if $c:expr => $h:block, $($rest:tt)*) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, $c, $h)] $($rest)*)
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr, if $c:expr => $h:block $($rest:tt)*) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, $c, $h)] $($rest)*)
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr, if $c:expr => $h:expr) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, $c, $h)])
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr, if $c:expr => $h:expr, $($rest:tt)*) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, $c, $h)] $($rest)*)
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr => $h:block, $($rest:tt)*) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, true, $h)] $($rest)*)
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr => $h:block $($rest:tt)*) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, true, $h)] $($rest)*)
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr => $h:expr) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, true, $h)])
    };
    (@parse $start:tt [$($b:tt)*] $p:pat = $f:expr => $h:expr, $($rest:tt)*) => {
        $crate::__select!(@parse $start [$($b)* ($p, $f, true, $h)] $($rest)*)
    };

    (@name $start:tt [$($branch:tt)*] $other:tt) => {
        $crate::__select!(@number $start [$($branch)*] $other []
            (0usize a0 b0 c0) (1usize a1 b1 c1) (2usize a2 b2 c2) (3usize a3 b3 c3)
            (4usize a4 b4 c4) (5usize a5 b5 c5) (6usize a6 b6 c6) (7usize a7 b7 c7)
            (8usize a8 b8 c8) (9usize a9 b9 c9) (10usize a10 b10 c10) (11usize a11 b11 c11)
            (12usize a12 b12 c12) (13usize a13 b13 c13) (14usize a14 b14 c14)
            (15usize a15 b15 c15))
    };
    (@number $start:tt [($($b:tt)*) $($more:tt)*] $other:tt [$($done:tt)*]
        ($($names:tt)*) $($spare:tt)*) => {
        $crate::__select!(@number $start [$($more)*] $other
            [$($done)* ($($names)* $($b)*)] $($spare)*)
    };
    (@number $start:tt [$($branch:tt)+] $other:tt [$($done:tt)*]) => {
        compile_error!("`select!` takes at most sixteen branches")
    };
    (@number $start:ident [] { $other:expr }
        [$(($n:literal $future:ident $output:ident $open:ident
            $p:pat, $f:expr, $c:expr, $h:expr))+] $($spare:tt)*) => {{
        // Everything but the chosen output is dropped before a handler runs.
        let (chosen, $(mut $output),+) = {
            $(let mut $open: bool = $c;)+
            $(let mut $future = ::core::pin::pin!(::core::future::IntoFuture::into_future($f));)+
            $(let mut $output = ::core::option::Option::None;)+
            const BRANCHES: usize = [$($n),+].len();
            let mut turns = $crate::sim::Turns::$start();
            let chosen = ::core::future::poll_fn(|cx| {
                let start = turns.next(BRANCHES);
                let mut any_open = false;
                for turn in start..start + BRANCHES {
                    match if turn < BRANCHES { turn } else { turn - BRANCHES } {
                        $($n => if $open {
                            let polled = ::core::future::Future::poll($future.as_mut(), cx);
                            match polled {
                                ::core::task::Poll::Pending => any_open = true,
                                ::core::task::Poll::Ready(output) => {
                                    #[allow(unreachable_patterns, unused_variables)]
                                    let matches = match &output {
                                        $crate::__clean_pattern!($p) => true,
                                        _ => false,
                                    };
                                    if matches {
                                        $output = ::core::option::Option::Some(output);
                                        return ::core::task::Poll::Ready($n);
                                    }
                                    $open = false;
                                }
                            }
                        })+
                        _ => ::core::unreachable!(),
                    }
                }
                if any_open {
                    ::core::task::Poll::Pending
                } else {
                    ::core::task::Poll::Ready(BRANCHES)
                }
            })
            .await;
            (chosen, $($output),+)
        };
        match chosen {
            $($n => match $output.take() {
                ::core::option::Option::Some($p) => $h,
                _ => ::core::unreachable!(),
            },)+
            _ => $other,
        }
    }};
}
