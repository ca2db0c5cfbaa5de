//! Data forms (XEP-0004), as far as rooms need them.

use amphi_stanza::{Element, XmlWriter, ns};

/// Writes one field.
pub(crate) fn field(w: &mut XmlWriter, var: &str, ty: Option<&str>, label: &str, value: &str) {
    w.open("field").attr("var", var).attr_opt("type", ty);
    if !label.is_empty() {
        w.attr("label", label);
    }
    w.text_element("value", value).close();
}

/// Opens a form and names what it is about.
pub(crate) fn open(w: &mut XmlWriter, ty: &str, form_type: &str) {
    w.open_ns("x", ns::DATA_FORMS).attr("type", ty);
    field(w, "FORM_TYPE", Some("hidden"), "", form_type);
}

/// The values of a submitted form: the first of each field.
pub(crate) fn values(form: Element<'_>) -> Vec<(String, String)> {
    form.children()
        .filter(|f| f.is("field", ns::DATA_FORMS))
        .filter_map(|f| {
            let var = f.attr("var")?.into_owned();
            let value = f.child("value", ns::DATA_FORMS).map(|v| v.text().into_owned()).unwrap_or_default();
            Some((var, value))
        })
        .collect()
}

/// A boolean as forms write it.
pub(crate) fn boolean(v: &str) -> Option<bool> {
    match v.trim() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}
