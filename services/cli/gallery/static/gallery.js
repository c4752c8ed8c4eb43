// Orders the units of a layer by a data attribute; units without that attribute come last.
(() => {
  const list = document.getElementById('units');
  const order = document.getElementById('order');
  order.form.hidden = false;
  order.form.addEventListener('submit', (event) => event.preventDefault());
  order.addEventListener('change', sort);
  sort(); // a browser may come back to the page with another order chosen

  function sort() {
    const falling = 'falling' in order.selectedOptions[0].dataset ? -1 : 1;
    const value = (item) => item.getAttribute(`data-${order.value}`);
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null) || one.dataset.unit - other.dataset.unit;
      return falling * (a - b) || one.dataset.unit - other.dataset.unit;
    };
    list.append(...[...list.children].sort(compare));
  }
})();
