//! An SVG as PNG, with the fonts of the system.

use resvg::{tiny_skia, usvg};

use crate::error::{Error, Result, Stage};

/// Pixels for each px of the SVG: sharp on a projector.
const SCALE: f32 = 2.0;
/// Maximum width and height, pixels.
const MAX_SIDE: f32 = 16_384.0;
/// Usual fonts without serifs, the preferred first; the name `sans-serif` means none by itself.
const FAMILIES: [&str; 10] = [
    "DejaVu Sans",
    "Noto Sans",
    "Liberation Sans",
    "Segoe UI",
    "Helvetica Neue",
    "Arial",
    "Helvetica",
    "Roboto",
    "Ubuntu",
    "Cantarell",
];

/// Draws an SVG; returns the bytes of the PNG.
///
/// # Errors
/// When the system has no fonts, or the picture is too large.
pub(super) fn png(svg: &str) -> Result<Vec<u8>> {
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_system_fonts();
    draw(svg, fonts)
}

fn draw(svg: &str, mut fonts: usvg::fontdb::Database) -> Result<Vec<u8>> {
    let output = |problem: String| Error::new(Stage::Output, problem);
    let known: Vec<String> =
        fonts.faces().flat_map(|face| face.families.iter().map(|(name, _)| name.clone())).collect();
    let usual = FAMILIES.iter().find(|family| known.iter().any(|name| name == *family));
    let Some(family) = usual.map(|family| family.to_string()).or_else(|| known.first().cloned()) else {
        let hint = "install one, such as the package fonts-dejavu-core, or write .svg";
        return Err(output("the texts of a PNG need a font, and the system has none".into()).hint(hint));
    };
    fonts.set_sans_serif_family(&family);
    let options =
        usvg::Options { font_family: family, fontdb: std::sync::Arc::new(fonts), ..usvg::Options::default() };
    let tree =
        usvg::Tree::from_str(svg, &options).map_err(|e| output(format!("the drawing is invalid: {e}")))?;
    let size = tree.size();
    let scale = SCALE.min(MAX_SIDE / size.width().max(size.height()));
    let side = |length: f32| (length * scale).ceil() as u32;
    let mut pixels = tiny_skia::Pixmap::new(side(size.width()), side(size.height()))
        .ok_or_else(|| output("the picture is empty".into()))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| output(format!("the picture cannot be written as PNG: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"60\" height=\"30\" font-family=\"sans-serif\">\
                       <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"4\" y=\"20\">words</text></svg>";

    #[test]
    fn without_fonts_there_is_an_error_and_no_picture() {
        let error = draw(SVG, usvg::fontdb::Database::new()).expect_err("no fonts").to_string();
        assert!(error.contains("fonts-dejavu-core") && error.contains(".svg"), "{error}");
    }

    #[test]
    fn texts_are_drawn() {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_system_fonts();
        if fonts.is_empty() {
            eprintln!("skipped: the system has no fonts");
            return;
        }
        let bytes = draw(SVG, fonts).expect("a picture");
        let picture = tiny_skia::Pixmap::decode_png(&bytes).expect("a PNG");
        assert_eq!((picture.width(), picture.height()), (120, 60));
        let dark = picture.pixels().iter().filter(|pixel| pixel.red() < 128).count();
        assert!(dark > 50, "{dark} dark pixels");
    }
}
