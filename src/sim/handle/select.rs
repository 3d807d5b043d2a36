//! `select!`: waits for the first of several futures; the branch polled first is a choice.

use std::panic::Location;

use crate::sim::task::table::LastSelect;
use crate::sim::world::current::try_enter;

/// The branch with which a `select!` begins, each time it is polled.
#[doc(hidden)]
#[derive(Debug)]
pub struct SelectOrder {
    biased: bool,
    /// Which of the task's `select!`s it is; known once it is polled.
    select_index: Option<u32>,
    polls: u64,
}

impl SelectOrder {
    pub const fn chosen() -> Self {
        Self { biased: false, select_index: None, polls: 0 }
    }

    pub const fn biased() -> Self {
        Self { biased: true, select_index: None, polls: 0 }
    }

    /// Chooses a branch to begin with; outside a run, the first.
    #[inline]
    pub fn first_branch(&mut self, branches: usize) -> usize {
        if self.biased || branches == 1 {
            return 0;
        }
        let branch = try_enter(|world| {
            let select_index = *self.select_index.get_or_insert_with(|| world.begin_select());
            self.polls += 1;
            world.choose_first_branch(select_index, self.polls - 1, branches as u64)
        });
        branch.unwrap_or(0) as usize
    }

    /// Notes which branch it took, for a stall report: what its task waits for next may depend on a
    /// branch that was dropped.
    #[track_caller]
    pub fn record_end(&self, branches: &'static [&'static str], taken: usize) {
        let location = Location::caller();
        try_enter(|world| world.end_select(LastSelect { at: 0, location, branches, taken }));
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
/// `select!` panics. Up to 64 branches, as in tokio.
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
            ::core::panic!("virtnet: all branches of `select!` are disabled and there is no `else`")
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

    // Nearly all have few branches, and a list of names is read anew for each of them.
    (@name $start:tt [$($branch:tt)*] $other:tt) => {
        $crate::__select!(@number $start [$($branch)*] $other []
            (0usize __f0 __o0 __c0) (1usize __f1 __o1 __c1) (2usize __f2 __o2 __c2)
            (3usize __f3 __o3 __c3) (4usize __f4 __o4 __c4) (5usize __f5 __o5 __c5)
            (6usize __f6 __o6 __c6) (7usize __f7 __o7 __c7) more)
    };
    (@number $start:tt [$($branch:tt)+] $other:tt [$($done:tt)*] more) => {
        $crate::__select!(@number $start [$($branch)+] $other [$($done)*]
            (8usize __f8 __o8 __c8) (9usize __f9 __o9 __c9) (10usize __f10 __o10 __c10)
            (11usize __f11 __o11 __c11) (12usize __f12 __o12 __c12) (13usize __f13 __o13 __c13)
            (14usize __f14 __o14 __c14) (15usize __f15 __o15 __c15) (16usize __f16 __o16 __c16)
            (17usize __f17 __o17 __c17) (18usize __f18 __o18 __c18) (19usize __f19 __o19 __c19)
            (20usize __f20 __o20 __c20) (21usize __f21 __o21 __c21) (22usize __f22 __o22 __c22)
            (23usize __f23 __o23 __c23) (24usize __f24 __o24 __c24) (25usize __f25 __o25 __c25)
            (26usize __f26 __o26 __c26) (27usize __f27 __o27 __c27) (28usize __f28 __o28 __c28)
            (29usize __f29 __o29 __c29) (30usize __f30 __o30 __c30) (31usize __f31 __o31 __c31)
            (32usize __f32 __o32 __c32) (33usize __f33 __o33 __c33) (34usize __f34 __o34 __c34)
            (35usize __f35 __o35 __c35) (36usize __f36 __o36 __c36) (37usize __f37 __o37 __c37)
            (38usize __f38 __o38 __c38) (39usize __f39 __o39 __c39) (40usize __f40 __o40 __c40)
            (41usize __f41 __o41 __c41) (42usize __f42 __o42 __c42) (43usize __f43 __o43 __c43)
            (44usize __f44 __o44 __c44) (45usize __f45 __o45 __c45) (46usize __f46 __o46 __c46)
            (47usize __f47 __o47 __c47) (48usize __f48 __o48 __c48) (49usize __f49 __o49 __c49)
            (50usize __f50 __o50 __c50) (51usize __f51 __o51 __c51) (52usize __f52 __o52 __c52)
            (53usize __f53 __o53 __c53) (54usize __f54 __o54 __c54) (55usize __f55 __o55 __c55)
            (56usize __f56 __o56 __c56) (57usize __f57 __o57 __c57) (58usize __f58 __o58 __c58)
            (59usize __f59 __o59 __c59) (60usize __f60 __o60 __c60) (61usize __f61 __o61 __c61)
            (62usize __f62 __o62 __c62) (63usize __f63 __o63 __c63) none)
    };
    // Eight at a time, because the compiler limits how deep macros are nested.
    (@number $start:tt
        [($($b0:tt)*) ($($b1:tt)*) ($($b2:tt)*) ($($b3:tt)*)
         ($($b4:tt)*) ($($b5:tt)*) ($($b6:tt)*) ($($b7:tt)*) $($more:tt)*]
        $other:tt [$($done:tt)*]
        ($($n0:tt)*) ($($n1:tt)*) ($($n2:tt)*) ($($n3:tt)*)
        ($($n4:tt)*) ($($n5:tt)*) ($($n6:tt)*) ($($n7:tt)*) $($spare:tt)*) => {
        $crate::__select!(@number $start [$($more)*] $other
            [$($done)*
             ($($n0)* $($b0)*) ($($n1)* $($b1)*) ($($n2)* $($b2)*) ($($n3)* $($b3)*)
             ($($n4)* $($b4)*) ($($n5)* $($b5)*) ($($n6)* $($b6)*) ($($n7)* $($b7)*)]
            $($spare)*)
    };
    (@number $start:tt [($($b:tt)*) $($more:tt)*] $other:tt [$($done:tt)*]
        ($($names:tt)*) $($spare:tt)*) => {
        $crate::__select!(@number $start [$($more)*] $other
            [$($done)* ($($names)* $($b)*)] $($spare)*)
    };
    (@number $start:tt [$($branch:tt)+] $other:tt [$($done:tt)*] none) => {
        ::core::compile_error!("`select!` takes at most 64 branches")
    };
    // No item is declared here, whose name the user's expressions would see. Variables are
    // hygienic; their names are odd because a constant of the user's would be taken for a pattern.
    (@number $start:ident [] { $other:expr }
        [$(($n:literal $future:ident $output:ident $open:ident
            $p:pat, $f:expr, $c:expr, $h:expr))+] $($spare:tt)*) => {{
        // Everything but the chosen output is dropped before a handler runs.
        let (__chosen, $(mut $output),+) = {
            $(let mut $open: ::core::primitive::bool = $c;)+
            $(let mut $future = ::core::pin::pin!(::core::future::IntoFuture::into_future($f));)+
            $(let mut $output = ::core::option::Option::None;)+
            let __branches = [$($n),+].len();
            let mut __order = $crate::sim::SelectOrder::$start();
            let __chosen = ::core::future::poll_fn(|__cx| {
                let __start = __order.first_branch(__branches);
                let mut __any_open = false;
                for __turn in __start..__start + __branches {
                    match if __turn < __branches { __turn } else { __turn - __branches } {
                        $($n => if $open {
                            let __polled = ::core::future::Future::poll($future.as_mut(), __cx);
                            match __polled {
                                ::core::task::Poll::Pending => __any_open = true,
                                ::core::task::Poll::Ready(__output) => {
                                    #[allow(unreachable_patterns, unused_variables)]
                                    let __matches = match &__output {
                                        $crate::__clean_pattern!($p) => true,
                                        _ => false,
                                    };
                                    if __matches {
                                        $output = ::core::option::Option::Some(__output);
                                        return ::core::task::Poll::Ready($n);
                                    }
                                    $open = false;
                                }
                            }
                        })+
                        _ => ::core::unreachable!(),
                    }
                }
                if __any_open {
                    ::core::task::Poll::Pending
                } else {
                    ::core::task::Poll::Ready(__branches)
                }
            })
            .await;
            __order.record_end(&[$(::core::stringify!($f)),+], __chosen);
            (__chosen, $($output),+)
        };
        match __chosen {
            $($n => match $output.take() {
                ::core::option::Option::Some($p) => $h,
                _ => ::core::unreachable!(),
            },)+
            _ => $other,
        }
    }};
}
