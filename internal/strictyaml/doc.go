// Package strictyaml reads the YAML of Runnel's own files: one document of
// mappings, lists and scalars, every node with its place, bounded in size and
// depth. It knows no keys and no faults: those belong to the file's own package,
// which walks the tree and says what it wants.
//
// Start with Parse.
package strictyaml
