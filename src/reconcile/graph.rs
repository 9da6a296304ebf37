//! Pure functions over a dependency graph. A graph is a list: for each node, the nodes it depends on.
//!
//! Everything is iterative: a chain of a thousand services is an ordinary project.

use indexmap::IndexMap;

use crate::spec::{Project, ServiceName};

/// For each node its distance from the nodes that depend on nothing, along the longest way. Nodes on or behind a
/// cycle have none.
pub fn depths(dependencies: &[Vec<usize>]) -> Vec<Option<u32>> {
    let mut dependents = vec![Vec::new(); dependencies.len()];
    let mut missing: Vec<usize> = vec![0; dependencies.len()];
    for (node, edges) in dependencies.iter().enumerate() {
        missing[node] = edges.len();
        for &dependency in edges {
            dependents[dependency].push(node);
        }
    }
    let mut depths: Vec<Option<u32>> = vec![None; dependencies.len()];
    let mut free: Vec<usize> = (0..dependencies.len()).filter(|&node| missing[node] == 0).collect();
    while let Some(node) = free.pop() {
        let deepest = dependencies[node]
            .iter()
            .filter_map(|&dependency| depths[dependency])
            .max();
        depths[node] = Some(deepest.map_or(0, |depth| depth + 1));
        for &dependent in &dependents[node] {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                free.push(dependent);
            }
        }
    }
    depths
}

/// The nodes in layers: each depends on earlier layers only, and nodes of one layer start in parallel. Stopping is
/// the mirror image: `layers.iter().rev()`. Nodes on or behind a cycle are missing.
pub fn layers(dependencies: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut layers: Vec<Vec<usize>> = Vec::new();
    for (node, depth) in depths(dependencies).into_iter().enumerate() {
        let Some(depth) = depth else { continue };
        let depth = depth as usize;
        if layers.len() <= depth {
            layers.resize(depth + 1, Vec::new());
        }
        layers[depth].push(node);
    }
    layers
}

/// One cycle, each node depending on the next and the last on the first; `None` if there is none.
pub fn cycle(dependencies: &[Vec<usize>]) -> Option<Vec<usize>> {
    let depths = depths(dependencies);
    let start = depths.iter().position(Option::is_none)?;
    // Whoever has no depth depends on another one without: following those must come round.
    let mut seen_at: Vec<Option<usize>> = vec![None; dependencies.len()];
    let mut path = Vec::new();
    let mut node = start;
    loop {
        if let Some(first) = seen_at[node] {
            return Some(path.split_off(first));
        }
        seen_at[node] = Some(path.len());
        path.push(node);
        node = dependencies[node]
            .iter()
            .copied()
            .find(|&dependency| depths[dependency].is_none())?;
    }
}

/// The services of a project in layers of its file's order.
pub fn project_layers(project: &Project) -> Vec<Vec<ServiceName>> {
    let names: IndexMap<&ServiceName, ()> = project.services.keys().map(|name| (name, ())).collect();
    let edges: Vec<Vec<usize>> = project
        .services
        .values()
        .map(|service| {
            service
                .depends_on
                .keys()
                .filter_map(|name| names.get_index_of(name))
                .collect()
        })
        .collect();
    let name = |node: usize| (*names.get_index(node).expect("a layer holds nodes of its graph").0).clone();
    layers(&edges)
        .into_iter()
        .map(|layer| layer.into_iter().map(name).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dp_07_a_chain_of_many_and_a_wide_fan() {
        let chain: Vec<Vec<usize>> = (0..100_000)
            .map(|n| if n == 0 { vec![] } else { vec![n - 1] })
            .collect();
        assert_eq!(layers(&chain).len(), 100_000);
        let fan: Vec<Vec<usize>> = (0..1_000).map(|n| if n == 0 { vec![] } else { vec![0] }).collect();
        assert_eq!(layers(&fan).iter().map(Vec::len).collect::<Vec<_>>(), [1, 999]);
    }

    #[test]
    fn dp_01_cycles_of_1_2_and_50() {
        for length in [1, 2, 50] {
            let mut edges: Vec<Vec<usize>> = (0..length).map(|n| vec![(n + 1) % length]).collect();
            edges.push(vec![0]);
            edges.push(vec![]);
            let found = cycle(&edges).expect("there is one");
            assert_eq!(found.len(), length);
            for (at, &node) in found.iter().enumerate() {
                assert!(edges[node].contains(&found[(at + 1) % length]));
            }
        }
        assert_eq!(cycle(&[vec![], vec![0], vec![0, 1]]), None);
    }

    #[test]
    fn a_layer_depends_on_earlier_ones_only() {
        assert_eq!(
            layers(&[vec![1, 2], vec![2], vec![], vec![2]]),
            [vec![2], vec![1, 3], vec![0]]
        );
    }
}
