// The unit browser: a new choice reloads the list at once, and keys move along the list.
const form = document.querySelector("#browse");
form?.addEventListener("change", (event) => {
  if (event.target.matches("select")) form.requestSubmit();
});
// Empty fields stay out of the address.
form?.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const target = { n: "#next-unit", p: "#previous-unit", u: "#back" }[event.key];
  if (target !== undefined) document.querySelector(target)?.click();
});
