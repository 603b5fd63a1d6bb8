//! The implementation of `Event` for an enum or a struct.
//!
//! Owns the generated code. It names everything by an absolute path, so that it works whatever the caller has in
//! scope.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Ident, LitStr, Result, Type};

use crate::attributes::{Container, Kind, Variant, of_type, of_variant, serde_of, tag_of};

/// The parts of the implementation that depend on the kind of type.
#[derive(Default)]
struct Parts {
    schemas: TokenStream,
    schema: TokenStream,
    version_of: TokenStream,
    tags: TokenStream,
    serialize: TokenStream,
    deserialize: TokenStream,
    unknown: TokenStream,
}

pub(crate) fn event(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        return Err(Error::new(parameter.span(), "an event type has no generic parameters"));
    }
    let is_struct = matches!(input.data, Data::Struct(_));
    let (container, own) = of_type(&input.attrs, &input.ident, is_struct)?;
    let parts = match &input.data {
        Data::Enum(data) => of_enum(input, data)?,
        Data::Struct(data) => of_struct(&own, &data.fields)?,
        Data::Union(data) => {
            let why = "`Event` is derived for an enum of events, or for a struct that is one event";
            return Err(Error::new(data.union_token.span(), why));
        }
    };
    Ok(implementation(&input.ident, &container, &parts))
}

fn implementation(ident: &Ident, container: &Container, parts: &Parts) -> TokenStream {
    let codec = match &container.codec {
        Some(path) => quote!(#path),
        None => quote!(::annals_es::Json),
    };
    let upcasters = container.upcasters.as_ref().map(|path| {
        quote_spanned! { path.span() =>
            fn upcasters() -> ::annals_es::Upcasters<Self> { #path() }
        }
    });
    let Parts { schemas, schema, version_of, tags, serialize, deserialize, unknown } = parts;
    quote! {
        #[automatically_derived]
        impl ::annals_es::Event for #ident {
            type Codec = #codec;

            fn schemas() -> ::std::vec::Vec<::annals_es::Schema> {
                let mut all = ::std::vec::Vec::new();
                #schemas
                all
            }

            fn schema(&self) -> ::annals_es::Schema {
                #schema
            }

            fn version_of(event_type: &str) -> ::core::option::Option<u16> {
                #version_of
            }

            #[allow(unused_variables)]
            fn tags(&self, tags: &mut ::std::vec::Vec<::std::string::String>) {
                #tags
            }

            fn serialize_event<S>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error>
            where
                S: ::annals_es::__private::Serializer,
            {
                #serialize
            }

            fn deserialize_event<'de, D>(
                event_type: &str,
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error>
            where
                D: ::annals_es::__private::Deserializer<'de>,
            {
                #deserialize
            }

            #unknown
            #upcasters
        }
    }
}

fn of_struct(own: &Variant, fields: &Fields) -> Result<Parts> {
    let Variant { name, version, .. } = own;
    let schema = quote!(::annals_es::Schema::new(#name, #version));
    let mut tags = TokenStream::new();
    for (index, field) in fields.iter().enumerate() {
        let member = match &field.ident {
            Some(ident) => quote!(#ident),
            None => {
                let index = syn::Index::from(index);
                quote!(#index)
            }
        };
        if let Some(prefix) = tag_of(field)? {
            tags.extend(tag(&prefix, &field.ty, &quote!((&self.#member))));
        }
    }
    Ok(Parts {
        schemas: quote!(all.push(#schema);),
        schema,
        version_of: quote!((event_type == #name).then_some(#version)),
        tags,
        serialize: quote!(::annals_es::__private::Serialize::serialize(self, serializer)),
        deserialize: quote! {
            let _ = event_type;
            ::annals_es::__private::Deserialize::deserialize(deserializer)
        },
        unknown: TokenStream::new(),
    })
}

fn of_enum(input: &DeriveInput, data: &DataEnum) -> Result<Parts> {
    if data.variants.is_empty() {
        return Err(Error::new(input.ident.span(), "an enum of events has at least one variant"));
    }
    let mut arms = Arms::default();
    for variant in &data.variants {
        arms.add(variant)?;
    }
    if let (true, Some(span)) = (arms.needs_serde, serde_of(&input.attrs).other_form) {
        let why = "an enum of events has serde's standard form: the name of the event is stored apart, \
            and the data has the fields of the variant only";
        return Err(Error::new(span, why));
    }
    let Arms {
        schemas,
        schema,
        version_of,
        nested_versions,
        tags,
        serialize,
        deserialize,
        nested,
        unknown,
        ..
    } = arms;
    Ok(Parts {
        schemas,
        schema: quote!(match self { #schema }),
        version_of: quote! {
            match event_type {
                #version_of
                _ => {
                    #nested_versions
                    ::core::option::Option::None
                }
            }
        },
        tags: quote!(match self { #tags }),
        serialize: quote!(match self { #serialize }),
        deserialize: quote! {
            match event_type {
                #deserialize
                _ => {
                    #nested
                    ::core::result::Result::Err(::annals_es::__private::unknown_type(event_type))
                }
            }
        },
        unknown: unknown.unwrap_or_default(),
    })
}

/// The match arms of all variants.
#[derive(Default)]
struct Arms {
    schemas: TokenStream,
    schema: TokenStream,
    version_of: TokenStream,
    nested_versions: TokenStream,
    tags: TokenStream,
    serialize: TokenStream,
    deserialize: TokenStream,
    nested: TokenStream,
    unknown: Option<TokenStream>,
    /// Whether serde's implementations for the enum are used.
    needs_serde: bool,
    names: Vec<String>,
    /// Serde's index of the next variant.
    index: u32,
}

impl Arms {
    fn add(&mut self, variant: &syn::Variant) -> Result<()> {
        let attributes = of_variant(&variant.attrs, &variant.ident)?;
        let serde = serde_of(&variant.attrs);
        let index = self.index;
        self.index += u32::from(!serde.is_skipped);
        match attributes.kind {
            Kind::Event => {
                if serde.is_skipped {
                    let why = "serde skips this variant: it cannot be read back";
                    return Err(Error::new(variant.ident.span(), why));
                }
                self.add_event(variant, &attributes, index)
            }
            Kind::Nested => self.add_nested(variant),
            Kind::Unknown => self.add_unknown(variant),
        }
    }

    fn add_event(&mut self, variant: &syn::Variant, of: &Variant, index: u32) -> Result<()> {
        let (ident, name, version) = (&variant.ident, &of.name, of.version);
        if self.names.contains(&name.value()) {
            let why = format!("two variants have the name {:?}", name.value());
            return Err(Error::new(name.span(), why));
        }
        self.names.push(name.value());
        self.needs_serde = true;
        let schema = quote!(::annals_es::Schema::new(#name, #version));
        self.schemas.extend(quote!(all.push(#schema);));
        self.schema.extend(quote!(Self::#ident { .. } => #schema,));
        self.version_of.extend(quote!(#name => ::core::option::Option::Some(#version),));
        self.serialize.extend(quote! {
            Self::#ident { .. } => ::annals_es::__private::serialize_variant(self, serializer),
        });
        self.deserialize.extend(quote! {
            #name => ::annals_es::__private::deserialize_variant(#index, deserializer),
        });
        let (mut bindings, mut pushes) = (TokenStream::new(), TokenStream::new());
        for (number, field) in variant.fields.iter().enumerate() {
            let Some(prefix) = tag_of(field)? else { continue };
            let binding = format_ident!("field_{number}");
            let member = match &field.ident {
                Some(ident) => quote!(#ident),
                None => {
                    let number = syn::Index::from(number);
                    quote!(#number)
                }
            };
            bindings.extend(quote!(#member: #binding,));
            pushes.extend(tag(&prefix, &field.ty, &quote!(#binding)));
        }
        self.tags.extend(quote!(Self::#ident { #bindings .. } => { #pushes }));
        Ok(())
    }

    fn add_nested(&mut self, variant: &syn::Variant) -> Result<()> {
        let ident = &variant.ident;
        let inner = only_field(variant, "nested")?;
        self.schemas.extend(quote!(all.extend(<#inner as ::annals_es::Event>::schemas());));
        self.schema.extend(quote!(Self::#ident(event) => ::annals_es::Event::schema(event),));
        self.nested_versions.extend(quote! {
            if let ::core::option::Option::Some(version) =
                <#inner as ::annals_es::Event>::version_of(event_type)
            {
                return ::core::option::Option::Some(version);
            }
        });
        self.tags.extend(quote!(Self::#ident(event) => ::annals_es::Event::tags(event, tags),));
        self.serialize.extend(quote! {
            Self::#ident(event) => ::annals_es::Event::serialize_event(event, serializer),
        });
        self.nested.extend(quote! {
            if <#inner as ::annals_es::Event>::version_of(event_type).is_some() {
                return <#inner as ::annals_es::Event>::deserialize_event(event_type, deserializer)
                    .map(Self::#ident);
            }
        });
        Ok(())
    }

    fn add_unknown(&mut self, variant: &syn::Variant) -> Result<()> {
        let ident = &variant.ident;
        if self.unknown.is_some() {
            return Err(Error::new(ident.span(), "an enum has one variant for unknown events"));
        }
        let inner = only_field(variant, "unknown")?;
        self.unknown = Some(quote_spanned! { inner.span() =>
            const KEEPS_UNKNOWN: bool = true;

            fn from_unknown(
                event: ::annals_es::RawEvent,
            ) -> ::core::option::Option<Self> {
                ::core::option::Option::Some(Self::#ident(event))
            }
        });
        self.schema.extend(quote!(Self::#ident(event) => event.schema(),));
        self.tags.extend(quote!(Self::#ident(_) => {}));
        self.serialize.extend(quote! {
            Self::#ident(event) => ::annals_es::__private::unknown_is_not_written(event, serializer),
        });
        Ok(())
    }
}

/// The type of the only, unnamed field of a variant.
fn only_field<'a>(variant: &'a syn::Variant, kind: &str) -> Result<&'a Type> {
    let Fields::Unnamed(fields) = &variant.fields else {
        let why = format!("a variant with `#[event({kind})]` has one unnamed field");
        return Err(Error::new(variant.span(), why));
    };
    match fields.unnamed.iter().collect::<Vec<_>>()[..] {
        [field] => match tag_of(field)? {
            None => Ok(&field.ty),
            Some(tag) => {
                Err(Error::new(tag.span(), "tags belong to the fields of the inner event"))
            }
        },
        _ => {
            let why = format!("a variant with `#[event({kind})]` has one unnamed field");
            Err(Error::new(variant.span(), why))
        }
    }
}

/// Pushes the tag of a field; of an `Option` or `Vec`, one per element.
fn tag(prefix: &LitStr, of: &Type, field: &TokenStream) -> TokenStream {
    let format = LitStr::new(&format!("{}:{{}}", escape(&prefix.value())), prefix.span());
    if is_collection(of) {
        return quote! {
            for element in #field.iter() {
                tags.push(::std::format!(#format, element));
            }
        };
    }
    quote!(tags.push(::std::format!(#format, #field));)
}

fn escape(prefix: &str) -> String {
    prefix.replace('{', "{{").replace('}', "}}")
}

fn is_collection(of: &Type) -> bool {
    let Type::Path(path) = of else { return false };
    let last = path.path.segments.last();
    last.is_some_and(|it| {
        ["Option", "Vec", "BTreeSet", "HashSet"].iter().any(|name| it.ident == name)
    })
}
