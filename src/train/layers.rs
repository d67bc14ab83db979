//! The layers of a network in messages and settings, and which of them are not trained.

use super::progress::LayerNorms;
use crate::model::Parameter;

/// The layer that a parameter belongs to, counted from 1 as in other messages.
pub(super) fn layer_name(parameter: &str) -> String {
    let mut parts = parameter.split('.');
    match (parts.next().unwrap_or_default(), parts.next().map(str::parse::<usize>)) {
        ("layers", Some(Ok(number))) => format!("layer {}", number + 1),
        ("input_norm", _) => "input".into(),
        (first, _) => first.into(),
    }
}

/// Whether each parameter belongs to one of the layers of these names.
pub(super) fn frozen(parameters: &[Parameter<f32>], layers: &[String]) -> Vec<bool> {
    parameters.iter().map(|parameter| layers.contains(&layer_name(&parameter.name))).collect()
}

/// Number of layers from the input upward that are not trained, so that no gradient is needed there: 0 if the input is
/// trained, 1 if only the input is not, and so on.
pub(super) fn frozen_from_below(layers: &[String]) -> usize {
    if !layers.iter().any(|name| name == "input") {
        return 0;
    }
    (1..).take_while(|number| layers.contains(&format!("layer {number}"))).count() + 1
}

/// A sentence about the layers whose values are not finite; `what` they are: gradients or weights.
pub(super) fn not_finite(parameters: &[Parameter<f32>], what: &str, values: &[Vec<f32>]) -> String {
    let mut layers: Vec<(String, bool)> = Vec::new();
    for (parameter, values) in parameters.iter().zip(values) {
        let name = layer_name(&parameter.name);
        if layers.last().is_none_or(|(last, _)| *last != name) {
            layers.push((name, true));
        }
        if let Some((_, is_finite)) = layers.last_mut() {
            *is_finite &= values.iter().all(|x| x.is_finite());
        }
    }
    let names: Vec<&str> =
        layers.iter().filter(|(_, is_finite)| !is_finite).map(|(name, _)| name.as_str()).collect();
    match names.len() {
        0 => format!("the {what} of all layers are finite"),
        count if count == layers.len() => format!("no layer has finite {what}"),
        _ => format!("layers without finite {what}: {}", names.join(", ")),
    }
}

/// The norms of an update by layer: of the gradients, of the change from `before` to `now`, and of the weights.
pub(super) fn norms(
    parameters: &[Parameter<f32>],
    gradients: &[Vec<f32>],
    before: &[Vec<f32>],
    now: &[Vec<f32>],
) -> Vec<LayerNorms> {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let mut layers: Vec<LayerNorms> = Vec::new();
    for (i, parameter) in parameters.iter().enumerate() {
        let name = layer_name(&parameter.name);
        if layers.last().is_none_or(|last| last.name != name) {
            layers.push(LayerNorms { name, gradient: 0.0, update: 0.0, weights: 0.0 });
        }
        let Some(sums) = layers.last_mut() else { continue };
        sums.gradient += gradients[i].iter().map(|&g| square(g)).sum::<f64>();
        sums.update += now[i].iter().zip(&before[i]).map(|(now, before)| square(now - before)).sum::<f64>();
        sums.weights += now[i].iter().map(|&w| square(w)).sum::<f64>();
    }
    let root = |LayerNorms { name, gradient, update, weights }| LayerNorms {
        name,
        gradient: f64::sqrt(gradient),
        update: f64::sqrt(update),
        weights: f64::sqrt(weights),
    };
    layers.into_iter().map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_frozen_layers_are_counted() {
        let count = |names: &[&str]| frozen_from_below(&names.iter().map(|&n| n.into()).collect::<Vec<_>>());
        let counts =
            [&[][..], &["layer 1"], &["input"], &["layer 1", "input"], &["input", "layer 2"]].map(count);
        assert_eq!(counts, [0, 0, 1, 2, 1]);
    }
}
