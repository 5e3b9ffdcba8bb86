-- The store's clock in ms.
return NOW
