//! What is read of a request.

/// The request that is being decided, as Envoy shows it.
pub trait Request {
    /// An attribute; the parts of its path are separated by zero bytes.
    fn property(&self, path: &str) -> Option<Vec<u8>>;

    /// The first line of a header.
    fn header(&self, name: &str) -> Option<Vec<u8>>;

    /// All lines of a header, joined by commas.
    fn header_lines(&self, name: &str) -> Option<Vec<u8>> {
        self.property(&format!("request\0headers\0{name}"))
    }

    /// The id under which logs name the request, if it is plain text of a sane length.
    fn id(&self) -> Option<String> {
        let id = self.header("x-request-id").and_then(|id| String::from_utf8(id).ok());
        id.filter(|id| {
            id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b))
        })
    }
}
