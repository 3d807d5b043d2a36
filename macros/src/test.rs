//! Expansion of `#[virtnet::test]`: an async function becomes a test that runs once a seed.
//!
//! The macro checks names and value types of the options and passes them on as text.
//! `virtnet::check` reads them.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Ident, ItemFn, Lit, LitStr, Pat, Token, Type};

/// The options in the attribute's parentheses, each as a name and a text.
pub(crate) struct Options(Vec<(Ident, LitStr)>);

/// The values that an option may have.
#[derive(Clone, Copy)]
struct ValueKinds {
    text: bool,
    number: bool,
    boolean: bool,
}

const TEXT: ValueKinds = ValueKinds { text: true, number: false, boolean: false };
const NUMBER: ValueKinds = ValueKinds { text: false, number: true, boolean: false };
const TEXT_OR_NUMBER: ValueKinds = ValueKinds { text: true, number: true, boolean: false };
const TEXT_OR_BOOL: ValueKinds = ValueKinds { text: true, number: false, boolean: true };

/// The options that there are, and what their values look like.
const KNOWN_OPTIONS: &[(&str, ValueKinds, &str)] = &[
    ("seeds", TEXT_OR_NUMBER, "`seeds = 1000` or `seeds = \"5..105\"`"),
    ("schedule", TEXT, "`schedule = \"pct:3\"`"),
    ("time_limit", TEXT, "`time_limit = \"5min\"`"),
    ("step_limit", NUMBER, "`step_limit = 100000`"),
    ("poll_limit", TEXT, "`poll_limit = \"60s\"`"),
    ("isolate", TEXT, "`isolate = \"process\"`"),
    ("budget", TEXT, "`budget = \"60s\"`"),
    ("jobs", NUMBER, "`jobs = 2`"),
    ("shrink", TEXT_OR_NUMBER, "`shrink = 100` or `shrink = \"100,30s\"`"),
    (
        "check_determinism",
        TEXT_OR_BOOL,
        "`check_determinism` or `check_determinism = \"fresh-process\"`",
    ),
];

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options: Vec<(Ident, LitStr)> = Vec::new();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            let Some((_, values, example)) = KNOWN_OPTIONS.iter().find(|(known, ..)| name == known)
            else {
                let names: Vec<&str> = KNOWN_OPTIONS.iter().map(|(known, ..)| *known).collect();
                let names = names.join(", ");
                let text = format!("there is no option `{name}`; there are {names}");
                return Err(Error::new(name.span(), text));
            };
            if options.iter().any(|(known, _)| *known == name) {
                return Err(Error::new(name.span(), format!("`{name}` is given twice")));
            }
            let value = if name == "check_determinism" && !input.peek(Token![=]) {
                LitStr::new("true", name.span())
            } else {
                parse_value(input, &name, *values, example)?
            };
            options.push((name, value));
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(Self(options))
    }
}

/// Reads what follows the name of an option.
fn parse_value(
    input: ParseStream<'_>,
    name: &Ident,
    kinds: ValueKinds,
    example: &str,
) -> syn::Result<LitStr> {
    let value_error = |span: Span| Error::new(span, format!("expected {example}"));
    input.parse::<Token![=]>().map_err(|_| value_error(name.span()))?;
    let value: Lit = input.parse().map_err(|error| value_error(error.span()))?;
    match &value {
        Lit::Str(text) if kinds.text => Ok(text.clone()),
        Lit::Int(number) if kinds.number => Ok(LitStr::new(number.base10_digits(), number.span())),
        Lit::Bool(boolean) if kinds.boolean => {
            Ok(LitStr::new(&boolean.value.to_string(), boolean.span()))
        }
        _ => Err(value_error(value.span())),
    }
}

/// Says what is wrong with what could not be read as a function.
///
/// A body that has a mistake of its own is left to the compiler, which says it better.
pub(crate) fn expand_non_function(item: TokenStream) -> TokenStream {
    let is_function = item.clone().into_iter().any(|token| token.to_string() == "fn");
    if is_function {
        return item;
    }
    let text = "#[virtnet::test] is for an `async fn`, and this is none";
    Error::new_spanned(item, text).to_compile_error()
}

/// Writes the test that takes the place of a function.
pub(crate) fn expand(options: &Options, function: &ItemFn) -> syn::Result<TokenStream> {
    let ItemFn { attrs, vis, sig, .. } = function;
    if sig.asyncness.is_none() {
        let text = "#[virtnet::test] is for an `async fn`: its body is run once for each seed";
        return Err(Error::new(sig.fn_token.span(), text));
    }
    if !sig.generics.params.is_empty() {
        let text = "a test cannot be generic: there are no types to run it for";
        return Err(Error::new(sig.generics.span(), text));
    }
    // Names that no argument and nothing in the test can have or see.
    let hygienic = |name| Ident::new(name, Span::mixed_site());
    let (sim, test_itself) = (hygienic("sim"), hygienic("test"));
    let (mut outer, mut passed, mut copied) = (Vec::new(), Vec::new(), Vec::new());
    for input in &sig.inputs {
        let FnArg::Typed(argument) = input else {
            return Err(Error::new(
                input.span(),
                "a test is no method: it takes a `Sim` or nothing",
            ));
        };
        if is_sim(&argument.ty) {
            passed.push(quote!(#sim));
            continue;
        }
        if !has_wrapper(attrs) {
            let text = "a test takes a `virtnet::Sim` or nothing; what passes more, such as \
                        `#[rstest]`, stands below this attribute";
            return Err(Error::new(argument.ty.span(), text));
        }
        // Whatever a wrapper such as rstest passes, each run gets a copy of.
        let Pat::Ident(name) = &*argument.pat else {
            return Err(Error::new(argument.pat.span(), "expected a name here"));
        };
        let name = &name.ident;
        outer.push(quote!(#argument));
        copied.push(quote!(let #name = ::core::clone::Clone::clone(&#name);));
        passed.push(quote!(#name));
    }
    let name = &sig.ident;
    let entries = options.0.iter().map(|(option, value)| {
        let option = option.to_string();
        quote!((#option, #value))
    });
    // A macro that passes arguments makes the test; a second `#[test]` would be one too many.
    let test = outer.is_empty().then(|| quote!(#[::core::prelude::v1::test]));
    let inner = strip_param_attrs(function);
    let text = name.to_string();
    let attribute = quote_spanned! { name.span() =>
        ::virtnet::check::Attribute {
            package: ::core::env!("CARGO_PKG_NAME"),
            module: ::core::module_path!(),
            function: #text,
            file: ::core::file!(),
            program: ::core::option_env!("CARGO_BIN_NAME"),
            is_apart: ::core::option_env!("CARGO_TARGET_TMPDIR").is_some(),
            options: &[#(#entries),*],
        }
    };
    Ok(quote! {
        #(#attrs)*
        #test
        #vis fn #name(#(#outer),*) {
            // It is fetched in a scope of its own, where no argument of the same name hides it.
            let #test_itself = { #inner #name };
            #attribute.run(move |#sim: ::virtnet::Sim| {
                let _ = #sim;
                #(#copied)*
                #test_itself(#(#passed),*)
            });
        }
    })
}

/// The function as its test has it inside. What stands at an argument is for a wrapper, which looks
/// for it in there, too.
fn strip_param_attrs(function: &ItemFn) -> ItemFn {
    let mut bare =
        ItemFn { attrs: Vec::new(), vis: syn::Visibility::Inherited, ..function.clone() };
    for input in &mut bare.sig.inputs {
        if let FnArg::Typed(argument) = input {
            argument.attrs.clear();
        }
    }
    bare
}

/// Whether anything else may make a test of the function: without that it would be none.
fn has_wrapper(attrs: &[Attribute]) -> bool {
    const NON_WRAPPERS: [&str; 9] =
        ["allow", "cfg", "deny", "doc", "expect", "forbid", "ignore", "should_panic", "warn"];
    attrs.iter().any(|attr| !NON_WRAPPERS.iter().any(|name| attr.path().is_ident(name)))
}

fn is_sim(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Sim")
}

#[cfg(test)]
mod tests {
    use super::expand;
    use syn::parse_quote;

    #[test]
    fn argument_attributes_are_passed_to_the_wrapper_only() {
        let function = parse_quote! {
            #[rstest]
            #[case(1)]
            async fn test(#[case] n: u32) {}
        };
        let text = expand(&parse_quote!(seeds = 3), &function).unwrap().to_string();
        assert_eq!(text.matches("# [case]").count(), 1, "{text}");
    }
}
