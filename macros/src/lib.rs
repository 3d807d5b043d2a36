//! The procedural macros of virtnet; use them through the `virtnet` crate.

mod test;

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Makes a test of an async function, which is run once for each of many seeds.
///
/// The options, and the variables that change them at run time, stand at `virtnet::check`.
#[proc_macro_attribute]
pub fn test(options: TokenStream, function: TokenStream) -> TokenStream {
    let options = syn::parse_macro_input!(options as test::Options);
    let Ok(function) = syn::parse::<syn::ItemFn>(function.clone()) else {
        return test::expand_non_function(function.into()).into();
    };
    test::expand(&options, &function).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Strips `mut` and `ref` from a pattern, so that it can be tried against a
/// reference without binding by value.
///
/// `virtnet::select!` asks with it whether a branch's pattern matches before it
/// gives up the other branches. Road not taken: `syn` parses whole patterns,
/// but two keywords need no parser.
#[doc(hidden)]
#[proc_macro]
pub fn clean_pattern(pattern: TokenStream) -> TokenStream {
    let mut after_ampersand = false;
    pattern
        .into_iter()
        .filter_map(|token| {
            let is_kept = match &token {
                // `&mut x` keeps its `mut`: there it is a type of reference.
                TokenTree::Ident(ident) => match ident.to_string().as_str() {
                    "mut" => after_ampersand,
                    "ref" => false,
                    _ => true,
                },
                _ => true,
            };
            after_ampersand = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '&');
            is_kept.then(|| clean_group(token))
        })
        .collect()
}

fn clean_group(token: TokenTree) -> TokenTree {
    match token {
        TokenTree::Group(group)
            if group.delimiter() != Delimiter::Brace || !group.stream().is_empty() =>
        {
            let mut cleaned = Group::new(group.delimiter(), clean_pattern(group.stream()));
            cleaned.set_span(group.span());
            cleaned.into()
        }
        other => other,
    }
}
