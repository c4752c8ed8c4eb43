// The unit browser: a choice shows its units at once, and keys lead along the list that one came from.
const form = document.querySelector("#browse");
form?.addEventListener("change", (event) => {
  if (event.target.matches("select")) form.requestSubmit();
});
// Only what is chosen stands in the address.
form?.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const leads = { n: "#next-unit", p: "#previous-unit", u: "#back" }[event.key];
  if (leads !== undefined) document.querySelector(leads)?.click();
});
